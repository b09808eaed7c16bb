"""A report from feedback/upload to each sink, in a deployment of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import DATABASES, Deployment, require, shown_when_it_fails
from tests.support.otlp_sink import OtlpSink
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import command, is_delta, run_turn, start_thread, start_turn, wait_for_end
from tests.support.wait import until
from tests.support.webhook_receiver import SECRET, WebhookReceiver
from tests.wire.test_telemetry import SOON, TOKEN, otel

CANARY = "sk-canary-0123456789abcdefghij"
HALVES = (CANARY[:15], CANARY[15:])
PATTERNS = {"feedback.redact_patterns": ["is delivered"]}  # what a worker says in its log
HOOK = {"url": "https://127.0.0.1:1/hook", "secret": "whsec_" + "QUFB" * 12, "events": ["feedback.processed"]}
SINKS = {"feedback.sinks": ["database", "directory", "webhook"], "webhooks": [HOOK]}


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def collector() -> Iterator[OtlpSink]:
    with OtlpSink() as sink:
        yield sink


@pytest.fixture(params=DATABASES)
def reporting(
    request: pytest.FixtureRequest, tmp_path: Path, receiver: WebhookReceiver, collector: OtlpSink
) -> Iterator[Deployment]:
    """All that may leave the house leaves it, and tells as much as it may be told to."""
    require(request.param)
    hook = {"url": receiver.url, "secret": SECRET, "allow_private": True}
    made = Deployment(
        tmp_path,
        request.param,
        workers=2,
        queues="turns,calls,feedback,background",
        server={"log_level": "debug"},
        settings={**SINKS, **PATTERNS, "webhooks": [hook], "otel": otel(collector, "binary", log_user_prompt=True)},
        environ={**SOON, "COLLECTOR_TOKEN": TOKEN},
    )
    with made as deployment, shown_when_it_fails(deployment):
        yield deployment


def read(client: ProtocolClient, feedback_id: str) -> dict[str, Any]:
    report: dict[str, Any] = client.request("feedback/read", {"feedbackId": feedback_id})["feedback"]
    return report


def wait_for_delivery(client: ProtocolClient, feedback_id: str) -> dict[str, Any]:
    until(lambda: read(client, feedback_id)["status"] not in ("received", "processing"))
    return read(client, feedback_id)


def test_a_report_reaches_every_sink_with_its_logs_and_nothing_that_leaves_the_house_has_a_secret(
    reporting: Deployment, receiver: WebhookReceiver, collector: OtlpSink
) -> None:
    client = reporting.connect()
    thread_id = start_thread(client)
    run_turn(client, thread_id, f"{CANARY} [[say Whole: {CANARY}]]")
    in_two = start_turn(client, thread_id, f"[[say {HALVES[0]}]][[pause cut]][[say {HALVES[1]}]]")
    client.wait_for(lambda frame: is_delta(frame) and of(frame, in_two))
    reporting.model.release("cut")
    wait_for_end(client, in_two)
    assert [one["params"]["delta"] for one in client.received if is_delta(one) and of(one, in_two)] == list(HALVES)
    split = f"printf {HALVES[0]}; sleep 0.2; echo {HALVES[1]}"
    run_turn(client, thread_id, f"{command(f'echo out {CANARY}')} {command(split)} [[say Bye.]]")
    run_turn(client, thread_id, f"[[status 400 {CANARY} is no key of ours]]")
    said = {"classification": "bug", "reason": f"it said {CANARY}", "threadId": thread_id, "includeLogs": True}

    reply = client.request(
        "feedback/upload", {**said, "tags": {CANARY: CANARY}, "extraLogFiles": ["/etc/passwd", "/etc/hostname"]}
    )

    assert (reply["threadId"], reply["promptHash"]) == (thread_id, None)
    report = wait_for_delivery(client, reply["feedbackId"])
    assert (report["status"], report["error"], report["tags"]) == ("delivered", None, {"[REDACTED]": "[REDACTED]"})
    assert client.request("feedback/list", {})["data"] == [report]
    text = (reporting.home / "feedback" / f"{report['id']}.json").read_text()
    content = json.loads(text)
    assert reporting.store.feedback.all_users_content(report["id"]) == content
    assert content["reason"] == "it said [REDACTED]"
    assert content["rollout"][0]["type"] == "session_meta"
    assert any("turn claimed" in line for line in content["serverLog"])
    until(lambda: "feedback.processed" in [one.verified()["type"] for one in list(receiver.received)])
    told = [one.verified() for one in receiver.received]
    assert {one["type"] for one in told} >= {"turn.started", "turn.completed", "turn.failed"}
    (processed,) = [one["data"] for one in told if one["type"] == "feedback.processed"]
    assert (processed["feedbackId"], processed["reason"]) == (report["id"], content["reason"])
    collector.wait_for("logs", "threadhouse.turn_ended", 4)
    collector.wait_for("logs", "codex.user_prompt", 4)
    results = [one.attributes["output"] for one in collector.wait_for("logs", "codex.tool_result", 2)]
    assert all("[REDACTED]" in one for one in results)
    for process in (*reporting.api, *reporting.workers):
        process.stop()  # with a flush
    assert "root:" not in text
    assert text.count("[REDACTED]") >= 8
    logs = [process.log.read_bytes() for process in (*reporting.api, *reporting.workers)]
    assert any(b"a report [REDACTED]" in log for log in logs)
    for place in (text.encode(), *logs, *collector.bodies, *(one.body for one in receiver.received)):
        assert CANARY.encode() not in place
        assert CANARY[3:20].encode() not in place


def of(frame: dict[str, Any], turn_id: str) -> bool:
    return bool(frame["params"]["turnId"] == turn_id)


def test_what_is_said_twice_is_delivered_once(reporting: Deployment) -> None:
    client = reporting.connect()
    ids = [
        client.request("feedback/upload", {"classification": "bug", "reason": "twice"})["feedbackId"] for _ in range(2)
    ]

    reports = [wait_for_delivery(client, feedback_id) for feedback_id in ids]

    assert [one["duplicateOf"] for one in reports] == [None, ids[0]]
    assert [path.stem for path in (reporting.home / "feedback").iterdir()] == [ids[0]]
