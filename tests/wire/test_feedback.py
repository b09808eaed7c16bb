"""A report from feedback/upload to each sink, in a deployment of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from shared.store.tables import outbox
from tests.support.deployment import DATABASES, Deployment, require, shown_when_it_fails
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import command, run_turn, start_thread
from tests.support.wait import until

CANARY = "sk-canary-0123456789abcdefghij"
HALVES = f"[[say n=2 {CANARY}]]"  # the model says it in two deltas
HOOK = {"url": "https://127.0.0.1:1/hook", "secret": "whsec_" + "QUFB" * 12, "events": ["feedback.processed"]}
SINKS = {"feedback.sinks": ["database", "directory", "webhook"], "webhooks": [HOOK]}


@pytest.fixture(params=DATABASES)
def reporting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    require(request.param)
    queues = "turns,calls,feedback"
    made = Deployment(tmp_path, request.param, workers=2, queues=queues, settings=SINKS)
    with made as deployment, shown_when_it_fails(deployment):
        yield deployment


def read(client: ProtocolClient, feedback_id: str) -> dict[str, Any]:
    report: dict[str, Any] = client.request("feedback/read", {"feedbackId": feedback_id})["feedback"]
    return report


def wait_for_delivery(client: ProtocolClient, feedback_id: str) -> dict[str, Any]:
    until(lambda: read(client, feedback_id)["status"] not in ("received", "processing"))
    return read(client, feedback_id)


def test_a_report_reaches_every_sink_with_its_logs_and_without_secrets(reporting: Deployment) -> None:
    client = reporting.connect()
    thread_id = start_thread(client)
    run_turn(client, thread_id, f"{CANARY} [[say Whole: {CANARY}]] {HALVES} {command(f'echo {CANARY}')} [[say Bye.]]")
    said = {"classification": "bug", "reason": f"it said {CANARY}", "threadId": thread_id, "includeLogs": True}

    reply = client.request(
        "feedback/upload", {**said, "tags": {"turn_id": "t"}, "extraLogFiles": ["/etc/passwd", "/etc/hostname"]}
    )

    assert (reply["threadId"], reply["promptHash"]) == (thread_id, None)
    report = wait_for_delivery(client, reply["feedbackId"])
    assert (report["status"], report["error"], report["tags"]) == ("delivered", None, {"turn_id": "t"})
    assert client.request("feedback/list", {})["data"] == [report]
    text = (reporting.home / "feedback" / f"{report['id']}.json").read_text()
    content = json.loads(text)
    assert reporting.store.feedback.all_users_content(report["id"]) == content
    assert content["reason"] == "it said [REDACTED]"
    assert content["rollout"][0]["type"] == "session_meta"
    assert any("turn claimed" in line for line in content["serverLog"])
    assert text.count("[REDACTED]") >= 5
    with reporting.store.database.read() as connection:
        told = [row.data for row in connection.execute(select(outbox))]
    assert [(one["feedbackId"], one["status"], one["reason"]) for one in told] == [
        (report["id"], "delivered", content["reason"])
    ]
    assert "root:" not in text
    logs = [process.log.read_text(errors="replace") for process in (*reporting.api, *reporting.workers)]
    for sink in (text, json.dumps(told), *logs):
        assert CANARY not in sink
        assert CANARY[3:20] not in sink


def test_what_is_said_twice_is_delivered_once(reporting: Deployment) -> None:
    client = reporting.connect()
    ids = [
        client.request("feedback/upload", {"classification": "bug", "reason": "twice"})["feedbackId"] for _ in range(2)
    ]

    reports = [wait_for_delivery(client, feedback_id) for feedback_id in ids]

    assert [one["duplicateOf"] for one in reports] == [None, ids[0]]
    assert [path.stem for path in (reporting.home / "feedback").iterdir()] == [ids[0]]
