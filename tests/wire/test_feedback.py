"""A report goes from feedback/upload to each sink, in a deployment of these tests alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.deployment import DATABASES, STEADY, Deployment, logs_shown_on_failure
from tests.support.otlp_sink import OtlpSink
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import command, is_delta, run_turn, start_thread, start_turn, wait_for_end
from tests.support.wait import until
from tests.support.webhook_receiver import SECRET, WebhookReceiver
from tests.wire.test_telemetry import SOON, TOKEN, otel

CANARY = "sk-canary-0123456789abcdefghij"
HALVES = (CANARY[:15], CANARY[15:])
PATTERNS = {"feedback.redact_patterns": ["delivered"]}  # the word stands in a line of a worker's log
HOOK = {"url": "https://127.0.0.1:1/hook", "secret": "whsec_" + "QUFB" * 12, "events": ["feedback.processed"]}
SINKS = {"feedback.sinks": ["database", "directory", "webhook"], "webhooks": [HOOK]}


@pytest.fixture(scope="module", params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def receiver(database: str) -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def collector(database: str) -> Iterator[OtlpSink]:
    with OtlpSink() as sink:
        yield sink


@pytest.fixture(scope="module")
def running(
    database: str,
    tmp_path_factory: pytest.TempPathFactory,
    receiver: WebhookReceiver,
    collector: OtlpSink,
) -> Iterator[Deployment]:
    """A deployment with every sink and exporter switched on, and with the most detailed output."""
    hook = {"url": receiver.url, "secret": SECRET, "allow_private": True}
    made = Deployment(
        tmp_path_factory.mktemp("feedback"),
        database,
        workers=2,
        queues="turns,calls,feedback,background",
        server=STEADY | {"log_level": "debug"},
        settings={**SINKS, **PATTERNS, "webhooks": [hook], "otel": otel(collector, "binary", log_user_prompt=True)},
        environ={**SOON, "COLLECTOR_TOKEN": TOKEN},
    )
    with made as deployment:
        yield deployment


@pytest.fixture
def reporting(running: Deployment) -> Iterator[Deployment]:
    with logs_shown_on_failure(running):
        yield running


def read(client: ProtocolClient, feedback_id: str) -> dict[str, Any]:
    report: dict[str, Any] = client.request("feedback/read", {"feedbackId": feedback_id})["feedback"]
    return report


def wait_for_delivery(client: ProtocolClient, feedback_id: str) -> dict[str, Any]:
    until(lambda: read(client, feedback_id)["status"] not in ("received", "processing"))
    return read(client, feedback_id)


def test_a_duplicate_report_is_not_delivered_again(reporting: Deployment) -> None:
    client = reporting.connect()
    ids = [
        client.request("feedback/upload", {"classification": "bug", "reason": "twice"})["feedbackId"] for _ in range(2)
    ]

    duplicate_of = {feedback_id: wait_for_delivery(client, feedback_id)["duplicateOf"] for feedback_id in ids}

    (delivered,) = (feedback_id for feedback_id in ids if duplicate_of[feedback_id] is None)  # whichever came first
    assert {duplicate_of[feedback_id] for feedback_id in ids} == {None, delivered}
    assert [path.stem for path in (reporting.home / "feedback").iterdir()] == [delivered]


def test_a_report_reaches_every_sink_with_its_logs_and_without_secrets(
    reporting: Deployment, receiver: WebhookReceiver, collector: OtlpSink
) -> None:
    client = reporting.connect()
    thread_id = start_thread(client)
    run_turn(client, thread_id, f"{CANARY} [[say Whole: {CANARY}]]")
    in_two = start_turn(client, thread_id, f"[[say {HALVES[0]}]][[pause cut]][[say {HALVES[1]}]]")
    client.wait_for(lambda frame: is_delta(frame) and of(frame, in_two))
    reporting.model.release("cut")
    wait_for_end(client, in_two)
    deltas = [frame["params"]["delta"] for frame in client.received if is_delta(frame) and of(frame, in_two)]
    assert deltas == list(HALVES)
    split = f"printf {HALVES[0]}; sleep 0.2; echo {HALVES[1]}"
    run_turn(client, thread_id, f"{command(f'echo out {CANARY}')} {command(split)} [[say Bye.]]")
    run_turn(client, thread_id, f"[[status 400 {CANARY} is no key of ours]]")
    sent = {"classification": "bug", "reason": f"it said {CANARY}", "threadId": thread_id, "includeLogs": True}

    reply = client.request(
        "feedback/upload", {**sent, "tags": {CANARY: CANARY}, "extraLogFiles": ["/etc/passwd", "/etc/hostname"]}
    )

    assert (reply["threadId"], reply["promptHash"]) == (thread_id, None)
    report = wait_for_delivery(client, reply["feedbackId"])
    assert (report["status"], report["error"], report["tags"]) == ("delivered", None, {"[REDACTED]": "[REDACTED]"})
    assert client.request("feedback/list", {})["data"][0] == report
    text = (reporting.home / "feedback" / f"{report['id']}.json").read_text()
    content = json.loads(text)
    assert reporting.store.feedback.all_users_content(report["id"]) == content
    assert content["reason"] == "it said [REDACTED]"
    assert content["rollout"][0]["type"] == "session_meta"
    assert any("turn claimed" in line for line in content["serverLog"])
    until(lambda: processed(receiver, report["id"]))
    of_turns = {"turn.started", "turn.completed", "turn.failed"}  # sent by either worker, in any order
    until(lambda: {request.verified()["type"] for request in list(receiver.received)} >= of_turns)
    [delivered] = processed(receiver, report["id"])
    assert delivered["reason"] == content["reason"]
    collector.wait_for("logs", "threadhouse.turn_ended", 4)
    collector.wait_for("logs", "codex.user_prompt", 4)
    results = [record.attributes["output"] for record in collector.wait_for("logs", "codex.tool_result", 2)]
    assert all("[REDACTED]" in output for output in results)
    for process in (*reporting.api, *reporting.workers):
        process.stop()  # which flushes telemetry
    assert "root:" not in text
    assert text.count("[REDACTED]") >= 8
    logs = [process.log.read_bytes() for process in (*reporting.api, *reporting.workers)]
    assert any(b"report [REDACTED]" in log for log in logs)
    for content_bytes in (text.encode(), *logs, *collector.bodies, *(request.body for request in receiver.received)):
        assert CANARY.encode() not in content_bytes
        assert CANARY[3:20].encode() not in content_bytes


def processed(receiver: WebhookReceiver, feedback_id: str) -> list[Any]:
    """Return the data of the webhooks about a report that the receiver got."""
    payloads = [request.verified() for request in list(receiver.received)]
    return [payload["data"] for payload in payloads if payload["data"].get("feedbackId") == feedback_id]


def of(frame: dict[str, Any], turn_id: str) -> bool:
    return bool(frame["params"]["turnId"] == turn_id)
