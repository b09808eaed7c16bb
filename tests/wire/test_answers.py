"""Two clients on two nodes answer the same approval request at once: one answer counts, and both are notified."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar

import pytest

from api.cli.client import Client
from shared.errors import InvalidRequest
from tests.support.deployment import Deployment
from tests.support.protocol_client import DEADLINE_S, ProtocolClient
from tests.support.turns import check_order, command, is_end, of_thread, start_turn, stored_turn, wait_for_end

APPROVAL = "item/commandExecution/requestApproval"
RESOLVED = "serverRequest/resolved"
SCRIPT = f"[[say Now.]]{command('echo ran >> probe')}[[say n=20 delay_ms=5]]"
AnyClient = TypeVar("AnyClient")
Outcome = TypeVar("Outcome")
ROUNDS = range(5)  # several, so that either client may win the race


@pytest.mark.parametrize("decisions", [("accept", "accept"), ("accept", "decline")], ids="_and_".join)
def test_one_of_two_simultaneous_answers_counts_and_both_clients_see_the_same_frames(
    deployment: Deployment, decisions: tuple[str, str]
) -> None:
    clients = [deployment.connect(0), deployment.connect(1)]
    for _ in ROUNDS:
        thread, turn_id, request_id = ask(clients)

        def answer(client: ProtocolClient, decision: str, request_id: int = request_id) -> None:
            client.send({"id": request_id, "result": {"decision": decision}})

        at_once(answer, clients, decisions)

        for client in clients:
            assert wait_for_end(client, turn_id)["status"] == "completed"
        assert_settled(clients, thread, turn_id, request_id, decisions)


def test_the_later_of_two_answers_over_http_is_refused(deployment: Deployment) -> None:
    clients = [deployment.connect(0), deployment.connect(1)]
    for _ in ROUNDS:
        thread, turn_id, request_id = ask(clients)

        def answer(client: Client, decision: str, request_id: int = request_id) -> InvalidRequest | None:
            try:
                client.call("serverRequest/respond", {"requestId": request_id, "result": {"decision": decision}})
            except InvalidRequest as error:
                return error
            return None

        refusals = at_once(answer, [deployment.http(0), deployment.http(1)], ("accept", "accept"))

        assert refusals.count(None) == 1, refusals
        for client in clients:
            assert wait_for_end(client, turn_id)["status"] == "completed"
        assert_settled(clients, thread, turn_id, request_id, ("accept", "accept"))


def ask(clients: list[ProtocolClient]) -> tuple[dict[str, Any], str, int]:
    """Start a turn that asks both clients for approval. Return (thread, turn id, request id)."""
    asker, other = clients
    thread = asker.request("thread/start", {"approvalPolicy": "untrusted"})["thread"]
    other.request("thread/resume", {"threadId": thread["id"]})
    turn_id = start_turn(asker, thread["id"], SCRIPT)
    asked = [
        client.wait_for(lambda f: f.get("method") == APPROVAL and f["params"]["threadId"] == thread["id"])
        for client in clients
    ]
    assert asked[0] == asked[1]
    return thread, turn_id, asked[0]["id"]


def at_once(
    answer: Callable[[AnyClient, str], Outcome], clients: list[AnyClient], decisions: tuple[str, ...]
) -> list[Outcome]:
    """Let each client answer at the same moment. Return the outcomes, in the order of the clients."""
    barrier = Barrier(len(clients))

    def answer_together(client: AnyClient, decision: str) -> Outcome:
        barrier.wait(DEADLINE_S)
        return answer(client, decision)

    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(answer_together, clients, decisions))


def assert_settled(
    clients: list[ProtocolClient], thread: dict[str, Any], turn_id: str, request_id: int, decisions: tuple[str, ...]
) -> None:
    """Assert that one decision was carried out once, and that both clients received the same frames, byte for byte."""
    seen = [of_thread(client.received, thread["id"]) for client in clients]
    assert json.dumps(seen[0]) == json.dumps(seen[1])
    methods = [frame["method"] for frame in seen[0]]
    assert methods.count(APPROVAL) == methods.count(RESOLVED) == 1
    assert sum(is_end(frame, turn_id) for frame in seen[0]) == 1
    assert check_order(seen[0]).resolved == {request_id}
    items = stored_turn(clients[0], thread["id"], turn_id)["items"]
    (ran,) = [item for item in items if item["type"] == "commandExecution"]
    assert ran["status"] in [{"accept": "completed", "decline": "declined"}[decision] for decision in decisions]
    probe = Path(thread["cwd"]) / "probe"
    assert (probe.read_text() if probe.exists() else "") == ("ran\n" if ran["status"] == "completed" else "")
