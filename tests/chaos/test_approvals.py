"""Approval requests wait while all processes are killed and started again, and occupy no worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import command, run_turn, start_thread, start_turn, stored_turn, wait_for_end

APPROVAL = "item/commandExecution/requestApproval"
REQUESTS = 3  # at once, while the worker runs one turn at a time
SCRIPT = f"[[say Now.]]{command('echo ran >> probe')}[[say fine]]"


@pytest.mark.parametrize("emptied", [False, True], ids=["redis_kept", "redis_emptied"])
def test_approval_request_survives_a_kill_of_all_processes_and_occupies_no_worker(
    deploy: Callable[..., Deployment], times: range, emptied: bool
) -> None:
    deployment = deploy(api=2, workers=1, server={"worker_concurrency": 1})

    for _ in times:
        first = deployment.connect(0)
        threads = [first.request("thread/start", {"approvalPolicy": "untrusted"})["thread"] for _ in range(REQUESTS)]
        turns = [start_turn(first, thread["id"], SCRIPT) for thread in threads]
        asked = [wait_for_approval_request(first, thread) for thread in threads]
        assert_others_run(first)

        deployment.kill_all()
        first.wait_until_lost()
        if emptied:
            deployment.empty_redis()
        deployment.start_all()

        second = deployment.connect(1)
        assert_others_run(second)
        for thread, turn_id, request in zip(threads, turns, asked, strict=True):
            resumed = second.request("thread/resume", {"threadId": thread["id"]})["thread"]
            assert resumed["status"] == {"type": "active", "activeFlags": ["waitingOnApproval"]}
            again = wait_for_approval_request(second, thread)
            assert without_event_id(again) == without_event_id(request)
            assert not (Path(thread["cwd"]) / "probe").exists()

            second.send({"id": again["id"], "result": {"decision": "accept"}})

            assert wait_for_end(second, turn_id)["status"] == "completed"
            assert len(approval_requests(second, thread)) == 1
            items = stored_turn(second, thread["id"], turn_id)["items"]
            assert [item["type"] for item in items] == [
                "userMessage",
                "agentMessage",
                "commandExecution",
                "agentMessage",
            ]
            assert (Path(thread["cwd"]) / "probe").read_text() == "ran\n"
        second.drop()


def wait_for_approval_request(client: ProtocolClient, thread: dict[str, Any]) -> dict[str, Any]:
    return client.wait_for(lambda frame: is_approval_request(frame, thread))


def approval_requests(client: ProtocolClient, thread: dict[str, Any]) -> list[dict[str, Any]]:
    return [frame for frame in client.received if is_approval_request(frame, thread)]


def is_approval_request(frame: dict[str, Any], thread: dict[str, Any]) -> bool:
    return frame.get("method") == APPROVAL and bool(frame["params"]["threadId"] == thread["id"])


def without_event_id(request: dict[str, Any]) -> dict[str, Any]:
    """Return the request without its cursor in the event log, which may change."""
    return {name: value for name, value in request.items() if name != "eventId"}


def assert_others_run(client: ProtocolClient) -> None:
    """Assert that the worker is free: a turn that needs no approval completes."""
    assert run_turn(client, start_thread(client), "[[say fine]]")["status"] == "completed"
