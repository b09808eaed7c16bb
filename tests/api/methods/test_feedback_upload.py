"""feedback/upload, read and list: what is taken, what is refused, and who sees it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import House, make_thread

SAID = {"classification": "bug", "reason": "mail me: ann@example.org", "includeLogs": True, "tags": {"turn_id": "t"}}


def test_a_report_is_stored_redacted_before_the_answer_and_a_worker_is_rung_after_it(house: House) -> None:
    thread = make_thread(house.store, house.config)
    client = house.connect()

    reply = client.call("feedback/upload", {**SAID, "threadId": thread.id, "extraLogFiles": ["/etc/passwd", 7]})

    assert (reply["threadId"], reply["promptHash"]) == (thread.id, None)
    report = client.call("feedback/read", {"feedbackId": reply["feedbackId"]})["feedback"]
    shown = {name: report[name] for name in ("threadId", "classification", "reason", "includeLogs", "tags", "status")}
    assert shown == {**SAID, "threadId": thread.id, "reason": "mail me: [REDACTED]", "status": "received"}
    queue: Any = house.services.queue
    assert queue.rung == [report["id"]]


def test_a_report_about_no_thread_is_filed_under_its_own_id(house: House) -> None:
    reply = house.connect().call("feedback/upload", {"classification": "good_result", "threadId": None, "tags": None})

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
def test_what_is_too_large_or_wrong_is_refused(house: House, params: dict[str, Any], code: int) -> None:
    client = house.connect()

    assert client.error("feedback/upload", params)["code"] == code
    assert client.call("feedback/list", {})["data"] == []


def test_nobody_elses_report_or_thread_can_be_told_from_none(house: House) -> None:
    ann, bob = house.connect("ann"), house.connect("bob")
    report_id = ann.call("feedback/upload", SAID)["feedbackId"]
    thread_id = make_thread(house.store, house.config, "ann").id

    for asked in (report_id, thread_id):
        of_another = bob.error("feedback/read", {"feedbackId": asked})
        of_nobody = bob.error("feedback/read", {"feedbackId": asked[:-4] + "0000"})
        assert of_another["code"] == of_nobody["code"]
        assert of_another["message"].replace(asked, "") == of_nobody["message"].replace(asked[:-4] + "0000", "")
    assert bob.error("feedback/upload", {**SAID, "threadId": thread_id})["code"] == -32600
    assert bob.call("feedback/list", {})["data"] == []


def test_reports_are_listed_newest_first_in_pages(house: House) -> None:
    client = house.connect()
    ids = [client.call("feedback/upload", {"classification": "bug"})["feedbackId"] for _ in range(3)]

    first = client.call("feedback/list", {"limit": 2})
    second = client.call("feedback/list", {"limit": 2, "cursor": first["nextCursor"]})

    assert [one["id"] for one in first["data"] + second["data"]] == ids[::-1]
    assert second["nextCursor"] is None
