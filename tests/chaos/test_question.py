"""Questions wait for their answers while everything is killed and started again, and hold no place of a worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import command, run_turn, start_thread, start_turn, stored_turn, wait_for_end

APPROVAL = "item/commandExecution/requestApproval"
QUESTIONS = 3  # at once, of a worker that runs one turn at a time
SCRIPT = f"[[say Now.]]{command('echo ran >> probe')}[[say fine]]"


@pytest.mark.parametrize("emptied", [False, True], ids=["redis_kept", "redis_emptied"])
def test_a_question_outlives_everything_and_holds_no_worker(
    deploy: Callable[..., Deployment], times: range, emptied: bool
) -> None:
    deployment = deploy(api=2, workers=1, server={"worker_concurrency": 1})

    for _ in times:
        before = deployment.connect(0)
        threads = [before.request("thread/start", {"approvalPolicy": "untrusted"})["thread"] for _ in range(QUESTIONS)]
        turns = [start_turn(before, thread["id"], SCRIPT) for thread in threads]
        asked = [wait_for_question(before, thread) for thread in threads]
        assert_others_run(before)

        deployment.kill_all()
        before.wait_until_lost()
        if emptied:
            deployment.empty_redis()
        deployment.start_all()

        after = deployment.connect(1)
        assert_others_run(after)
        for thread, turn_id, question in zip(threads, turns, asked, strict=True):
            resumed = after.request("thread/resume", {"threadId": thread["id"]})["thread"]
            assert resumed["status"] == {"type": "active", "activeFlags": ["waitingOnApproval"]}
            again = wait_for_question(after, thread)
            assert told(again) == told(question)
            assert not (Path(thread["cwd"]) / "probe").exists()

            after.send({"id": again["id"], "result": {"decision": "accept"}})

            assert wait_for_end(after, turn_id)["status"] == "completed"
            assert len(questions(after, thread)) == 1
            items = stored_turn(after, thread["id"], turn_id)["items"]
            assert [item["type"] for item in items] == [
                "userMessage",
                "agentMessage",
                "commandExecution",
                "agentMessage",
            ]
            assert (Path(thread["cwd"]) / "probe").read_text() == "ran\n"
        after.drop()


def wait_for_question(client: ProtocolClient, thread: dict[str, Any]) -> dict[str, Any]:
    return client.wait_for(lambda frame: is_question(frame, thread))


def questions(client: ProtocolClient, thread: dict[str, Any]) -> list[dict[str, Any]]:
    return [frame for frame in client.received if is_question(frame, thread)]


def is_question(frame: dict[str, Any], thread: dict[str, Any]) -> bool:
    return frame.get("method") == APPROVAL and bool(frame["params"]["threadId"] == thread["id"])


def told(question: dict[str, Any]) -> dict[str, Any]:
    """The question, less the place in the log where it stands."""
    return {name: value for name, value in question.items() if name != "eventId"}


def assert_others_run(client: ProtocolClient) -> None:
    """The only place for a turn is free: one that asks nothing runs to its end."""
    assert run_turn(client, start_thread(client), "[[say fine]]")["status"] == "completed"
