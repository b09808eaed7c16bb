"""What the session of a bridge puts on the next connection."""

from __future__ import annotations

from typing import Any, cast

import pytest

from api.cli.bridge.server_connection import ServerConnection
from api.cli.bridge.session import MAX_SENDS, ClientRequest, Session
from shared.errors import Unavailable

CONNECTION = cast(ServerConnection, object())  # the session only returns it


def request(request_id: int, method: str, **params: Any) -> ClientRequest:
    return ClientRequest(request_id, method, params, f"{request_id}".encode())


def test_a_request_waits_for_a_connection_and_is_sent_on_the_next_one() -> None:
    session = Session()

    assert session.add_request(request(1, "thread/read")) is None

    assert session.attach(CONNECTION) == [b"1"]
    assert session.add_request(request(2, "thread/read")) is CONNECTION
    assert session.is_pending(1)


def test_a_request_is_refused_after_giving_up_and_accepted_with_a_connection() -> None:
    session = Session()
    session.give_up()

    with pytest.raises(Unavailable):
        session.add_request(request(1, "thread/read"))
    assert not session.is_pending(1)

    session.attach(CONNECTION)
    session.add_request(request(2, "thread/read"))
    assert session.is_pending(2)


@pytest.mark.parametrize(
    ("method", "sends", "lost"),
    [
        ("thread/compact/start", 0, False),
        ("thread/compact/start", 1, True),
        ("thread/read", 1, False),
        ("turn/start", MAX_SENDS - 1, False),
        ("turn/start", MAX_SENDS, True),
    ],
)
def test_a_request_may_be_lost_when_it_was_sent_and_must_not_be_sent_again(method: str, sends: int, lost: bool) -> None:
    sent = request(1, method)
    sent.sends = sends

    assert sent.may_be_lost == lost


def test_an_unconfirmed_answer_is_sent_on_the_next_connection() -> None:
    session = Session()
    session.handle({"id": 7, "method": "item/commandExecution/requestApproval", "params": {"threadId": "T"}})
    session.record_answer(7, b"answer")

    assert session.attach(CONNECTION) == [b"answer"]

    session.handle({"method": "serverRequest/resolved", "params": {"threadId": "T", "requestId": 7}})
    assert session.attach(CONNECTION) == []


def test_events_before_the_resume_are_dropped_when_the_log_repeats_them() -> None:
    session = Session()
    session.add_request(request(1, "thread/start"))
    session.handle({"id": 1, "result": {"thread": {"id": "T"}}, "eventId": "1-0"})
    session.detach()

    assert session.handle({"method": "thread/name/updated", "params": {"threadId": "T"}}) is None

    resumed = session.catch_up("T", {"id": 2, "result": {"thread": {"id": "T", "turns": []}}, "eventId": "3-0"}, False)
    assert resumed == []
    assert session.cursor("T") == "3-0"


@pytest.mark.parametrize(("reply", "method"), [({"result": {}}, "thread/archived"), ({"error": {}}, "thread/deleted")])
def test_a_thread_that_is_gone_is_reported_and_no_longer_followed(reply: Any, method: str) -> None:
    session = Session()
    session.add_request(request(1, "thread/start"))
    session.handle({"id": 1, "result": {"thread": {"id": "T"}}})
    if "result" in reply:
        reply = {"result": {"thread": {"id": "T", "turns": []}}}

    messages = session.catch_up("T", reply, is_gone=True)

    assert [message["method"] for message in messages] == [method]
    assert session.followed_threads() == []
