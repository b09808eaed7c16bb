"""The notify program and webhooks of a real deployment: what each receives, and how often."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.config.webhooks import EVENTS
from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.notifier import Notifier
from tests.support.turns import command, is_delta, run_turn, start_thread, start_turn, wait_for_end
from tests.support.wait import until
from tests.support.webhook_receiver import SECRET, WebhookReceiver

ALL_QUEUES = "turns,calls,background"
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # noqa: E501
APPROVAL = "item/commandExecution/requestApproval"


@pytest.fixture(scope="module")
def notifier(tmp_path_factory: pytest.TempPathFactory) -> Notifier:
    return Notifier(tmp_path_factory.mktemp("notifier"))


@pytest.fixture(scope="module")
def receivers() -> Iterator[list[WebhookReceiver]]:
    """Three receivers: one that is allowed, one that is refused, and the target of the redirects of the first."""
    with WebhookReceiver() as first, WebhookReceiver() as refused, WebhookReceiver() as inside:
        yield [first, refused, inside]


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, notifier: Notifier, receivers: list[WebhookReceiver]
) -> Iterator[Deployment]:
    webhooks = [
        {"url": receivers[0].url, "secret": "${HOOK_SECRET}", "events": EVENTS[:7], "allow_private": True},
        {"url": receivers[1].url, "secret": SECRET, "events": ["turn.completed"]},
    ]
    # A receiver that answers must not be late on a busy machine. One that does not costs a test these seconds.
    server = STEADY | {"webhook_timeout_seconds": 5, "webhook_retry_seconds": [0.05] * 6}
    settings: dict[str, object] = {"notify": notifier.argv, "webhooks": webhooks}
    home = tmp_path_factory.mktemp("home")
    deployment = Deployment(home, workers=2, server=server, settings=settings, queues=ALL_QUEUES)
    for process in (*deployment.api, *deployment.workers):
        process.environ["HOOK_SECRET"] = SECRET
    with deployment:
        yield deployment


@pytest.fixture
def deployment(running: Deployment) -> Iterator[Deployment]:
    with logs_shown_on_failure(running):
        yield running


def events_of(receiver: WebhookReceiver, turn_id: str) -> list[str]:
    """Return the types of the webhooks of a turn that the receiver accepted, sorted. Checks each signature."""
    payloads = [request.verified() for request in list(receiver.received) if request.answered == 200]
    return sorted(payload["type"] for payload in payloads if payload["data"]["turnId"] == turn_id)


def test_the_notify_program_gets_exactly_the_typed_input_of_the_turn(
    deployment: Deployment, notifier: Notifier, tmp_path: Path
) -> None:
    client = deployment.connect()
    (tmp_path / "AGENTS.md").write_text("Injected by the backend.")
    started = {"cwd": str(tmp_path), "developerInstructions": "Be brief."}
    thread = client.request("thread/start", started)["thread"]
    earlier = run_turn(client, thread["id"], "[[say earlier]]")
    until(lambda: earlier["id"] in notifier.turn_ids())

    def text(words: str) -> dict[str, Any]:
        return {"type": "text", "text": words}

    first = [text("Look at this:"), {"type": "image", "url": PIXEL}, text("[[say one ]][[pause typed]][[say two]]")]
    turn_id = client.request("turn/start", {"threadId": thread["id"], "input": first})["turn"]["id"]
    client.wait_for(lambda frame: is_delta(frame, "one"))
    steer = {"threadId": thread["id"], "expectedTurnId": turn_id}
    # Input interrupts the stream. The second input pauses the turn again: it cannot end before the third arrives.
    client.request("turn/steer", {**steer, "input": [text('Faster: "é" \\ \''), text("[[pause typed again]]")]})
    client.request("turn/start", {"threadId": thread["id"], "input": [text("[[say Well.]]")]})
    turn = wait_for_end(client, turn_id)

    until(lambda: turn_id in notifier.turn_ids())
    assert notifier.calls[-1] == {
        "type": "agent-turn-complete",
        "thread-id": thread["id"],
        "turn-id": turn_id,
        "cwd": str(tmp_path),
        "client": "test_client",
        "input-messages": [
            "Look at this:\n[[say one ]][[pause typed]][[say two]]",
            'Faster: "é" \\ \'\n[[pause typed again]]',
            "[[say Well.]]",
        ],
        "last-assistant-message": turn["items"][-1]["text"],
    }
    assert "Injected by the backend." in str(deployment.model.requests[-1].body)
    assert notifier.turn_ids() == [earlier["id"], turn_id]


def test_failed_and_interrupted_turns_do_not_run_the_notify_program(deployment: Deployment, notifier: Notifier) -> None:
    client = deployment.connect()
    thread_id = start_thread(client)
    failed = run_turn(client, thread_id, "[[status 400 no]]")
    interrupted = start_turn(client, thread_id, "[[say one ]][[pause never]]")
    client.wait_for(lambda frame: is_delta(frame, "one"))
    client.request("turn/interrupt", {"threadId": thread_id, "turnId": interrupted})
    wait_for_end(client, interrupted)
    completed = run_turn(client, thread_id, "[[say fine]]")

    until(lambda: completed["id"] in notifier.turn_ids())

    assert failed["status"] == "failed"
    assert {failed["id"], interrupted}.isdisjoint(notifier.turn_ids())


def test_a_webhook_is_retried_until_turns_and_approvals_are_delivered_once(
    deployment: Deployment, receivers: list[WebhookReceiver]
) -> None:
    first, refused, inside = receivers
    # Deliveries that earlier tests caused would consume some of the scripted answers.
    until(lambda: not deployment.store.outbox.list_webhooks(["pending"], 1))
    first.location = inside.url
    first.answers = [500, "hang", 302, "drip"]
    client = deployment.connect()
    thread = client.request("thread/start", {"approvalPolicy": "untrusted"})["thread"]

    turn_id = start_turn(client, thread["id"], command("touch hushhush") + "[[say fine]]")
    approval = client.wait_for(lambda frame: frame.get("method") == APPROVAL)
    client.send({"id": approval["id"], "result": {"decision": "decline"}})
    wait_for_end(client, turn_id)
    expected = ["approval.requested", "approval.resolved", "turn.completed", "turn.started"]
    until(lambda: events_of(first, turn_id) == expected)

    mine = [request for request in first.received if request.verified()["data"]["turnId"] == turn_id]
    assert {request.answered for request in mine} == {200, 500, "hang", 302, "drip"}
    assert len(mine) == 8
    assert len({request.headers["webhook-id"] for request in mine}) == 4
    assert all(b"hushhush" not in request.body for request in mine)
    assert inside.received == []
    until(lambda: any(row.data["turnId"] == turn_id for row in deployment.store.outbox.list_webhooks(["dead"], 100)))
    assert refused.received == []
    (dead,) = [row for row in deployment.store.outbox.list_webhooks(["dead"], 100) if row.data["turnId"] == turn_id]
    assert (dead.target, dead.attempts) == (refused.url, 7)
    assert "private, local and reserved addresses are refused" in str(dead.error)


def test_replaying_a_delivery_sends_it_again_under_the_same_id(
    deployment: Deployment, receivers: list[WebhookReceiver]
) -> None:
    client = deployment.connect()
    turn_id = run_turn(client, start_thread(client), "[[say fine]]")["id"]
    until(lambda: events_of(receivers[0], turn_id) == ["turn.completed", "turn.started"])
    until(lambda: len(deployment.store.outbox.list_webhooks(["pending"], 100)) == 0)
    found = deployment.store.outbox.list_webhooks(["delivered"], 100)
    (delivered,) = [row for row in found if row.data["turnId"] == turn_id and row.event == "turn.completed"]

    command_line = [sys.executable, "-P", "-m", "api.cli", "webhooks", "replay", delivered.id]
    subprocess.run(command_line, env={**deployment.environ, "HOOK_SECRET": SECRET}, check=True)

    until(lambda: events_of(receivers[0], turn_id) == ["turn.completed", "turn.completed", "turn.started"])
    ids = [request.headers["webhook-id"] for request in receivers[0].received]
    assert ids.count(delivered.id) == 2
