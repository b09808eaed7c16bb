"""feedback/upload, read and list: what is stored, what is refused, and who can read it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import Backend, make_thread

REPORT = {"classification": "bug", "reason": "mail me: ann@example.org", "includeLogs": True, "tags": {"turn_id": "t"}}


def test_a_report_is_stored_redacted_before_the_reply_and_enqueued_after_it(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    client = backend.connect()

    reply = client.call("feedback/upload", {**REPORT, "threadId": thread.id, "extraLogFiles": ["/etc/passwd", 7]})

    assert (reply["threadId"], reply["promptHash"]) == (thread.id, None)
    report = client.call("feedback/read", {"feedbackId": reply["feedbackId"]})["feedback"]
    shown = {name: report[name] for name in ("threadId", "classification", "reason", "includeLogs", "tags", "status")}
    assert shown == {**REPORT, "threadId": thread.id, "reason": "mail me: [REDACTED]", "status": "received"}
    queue: Any = backend.services.queue
    assert queue.enqueued == [report["id"]]


def test_a_report_without_a_thread_has_its_own_id_as_thread_id(backend: Backend) -> None:
    reply = backend.connect().call("feedback/upload", {"classification": "good_result", "threadId": None, "tags": None})

    assert reply["threadId"] == reply["feedbackId"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, -32602),
        ({"classification": "Not a word"}, -32602),
        ({"classification": "bug\n"}, -32602),
        ({"classification": "bug", "threadId": "01a202ed-4134-7910-9f4a-d9eec5a2ea90"}, -32600),
        ({"classification": "bug", "reason": "x" * 20_001}, -32602),
        ({"classification": "bug", "tags": {"a": 5}}, -32602),
        ({"classification": "bug", "tags": {"a": "x" * 513}}, -32602),
        ({"classification": "bug", "tags": {str(n): "" for n in range(33)}}, -32602),
    ],
)
def test_too_large_or_malformed_reports_are_refused(backend: Backend, params: dict[str, Any], code: int) -> None:
    client = backend.connect()

    assert client.error("feedback/upload", params)["code"] == code
    assert client.call("feedback/list", {})["data"] == []


def test_another_users_report_or_thread_is_answered_like_an_unknown_one(backend: Backend) -> None:
    ann, bob = backend.connect("ann"), backend.connect("bob")
    report_id = ann.call("feedback/upload", REPORT)["feedbackId"]
    thread_id = make_thread(backend.store, backend.config, "ann").id

    for asked in (report_id, thread_id):
        of_another = bob.error("feedback/read", {"feedbackId": asked})
        of_nobody = bob.error("feedback/read", {"feedbackId": asked[:-4] + "0000"})
        assert of_another["code"] == of_nobody["code"]
        assert of_another["message"].replace(asked, "") == of_nobody["message"].replace(asked[:-4] + "0000", "")
    assert bob.error("feedback/upload", {**REPORT, "threadId": thread_id})["code"] == -32600
    assert bob.call("feedback/list", {})["data"] == []


def test_reports_are_listed_newest_first_in_pages(backend: Backend) -> None:
    client = backend.connect()
    ids = [client.call("feedback/upload", {"classification": "bug"})["feedbackId"] for _ in range(3)]

    first = client.call("feedback/list", {"limit": 2})
    second = client.call("feedback/list", {"limit": 2, "cursor": first["nextCursor"]})

    assert [one["id"] for one in first["data"] + second["data"]] == ids[::-1]
    assert second["nextCursor"] is None
