"""What clients see of errors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api.error_codes import CODES, wire_error
from shared import errors
from tests.builders import House, claim_turn, end_turn, make_thread, make_turn, text_input

UNKNOWN = "01a202e8-05e8-7e83-b3af-000000000000"


def leaves(error: type[Exception]) -> Iterator[type[Exception]]:
    children = error.__subclasses__()
    yield from (leaf for child in children for leaf in leaves(child)) if children else [error]


def test_every_error_of_a_request_has_a_code() -> None:
    assert [leaf for leaf in leaves(errors.RequestError) if leaf not in CODES] == []


def test_an_overload_says_when_to_come_back_in_the_words_that_the_sdk_retries_on() -> None:
    body = wire_error(errors.Overloaded("too many turns", retry_after_ms=2500), "turn/start").body()

    assert body["code"] == -32001
    assert body["data"] == {"codexErrorInfo": "server_overloaded", "retryAfterMs": 2500}


def test_an_unforeseen_error_is_told_to_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    told = wire_error(RuntimeError("secret path"), "turn/start")

    assert told.body() == {"code": -32603, "message": "internal error"}
    assert "secret path" in caplog.text


# (method, params, code, beginning of the message), PROTOCOL 2.1
REFUSALS = [
    ("x/y", {}, -32601, "Invalid request: unknown variant `x/y`, expected one of "),
    ("thread/start", {"cwd": 5}, -32602, "Invalid request: invalid type: integer `5`, expected a string"),
    ("thread/start", {"model": True}, -32602, "Invalid request: invalid type: boolean `true`, expected a string"),
    ("thread/start", [], -32602, "Invalid request: invalid type: sequence, expected a map"),
    ("thread/start", {"sandbox": "bogus"}, -32602, "Invalid request: unknown variant `bogus`, expected one of `read-"),
    ("thread/start", {"approvalPolicy": "on-failure"}, -32602, "Invalid request: unknown variant `on-failure`, expect"),
    ("thread/start", {"config": {"notify": ["rm"]}}, -32602, "config.notify: "),
    ("thread/start", {"config": {"mcp_servers": {"x": {}}}}, -32602, "config.mcp_servers: "),
    ("thread/start", {"cwd": "relative"}, -32602, "cwd: expected an absolute path"),
    ("thread/start", {"cwd": "/a/../b"}, -32602, "cwd: expected an absolute path"),
    ("thread/start", {"modelProvider": "other"}, -32602, "Model provider `other` not found"),
    ("thread/list", None, -32602, "Invalid request: missing field `params`"),
    ("thread/list", {"cursor": "garbage"}, -32600, "invalid cursor: garbage"),
    ("thread/list", {"sortKey": "bogus"}, -32602, "Invalid request: unknown variant `bogus`, expected one of"),
    ("thread/turns/list", {"threadId": "THREAD", "cursor": "x"}, -32600, "invalid cursor: x"),
    ("thread/items/list", {"threadId": "THREAD", "cursor": "x"}, -32600, "invalid cursor: x"),
    ("turn/start", {"threadId": "THREAD"}, -32602, "Invalid request: missing field `input`"),
    ("turn/start", {"threadId": "THREAD", "input": [{"type": "text"}]}, -32602, "Invalid request: missing field `te"),
    ("turn/start", {"threadId": "THREAD", "input": [{"type": "x"}]}, -32602, "Invalid request: unknown variant `x`"),
    ("turn/start", {"threadId": "bad", "input": []}, -32600, "invalid thread id: bad"),
    ("turn/start", {"threadId": UNKNOWN, "input": []}, -32600, f"thread not found: {UNKNOWN}"),
    ("turn/steer", {"threadId": UNKNOWN, "input": [], "expectedTurnId": "t"}, -32600, f"thread not found: {UNKNOWN}"),
    ("turn/steer", {"threadId": "THREAD", "input": [], "expectedTurnId": "t"}, -32600, "no active turn to steer"),
    ("turn/interrupt", {"threadId": "THREAD", "turnId": "t"}, -32600, "no active turn to interrupt"),
    ("thread/read", {"threadId": UNKNOWN}, -32600, f"thread not loaded: {UNKNOWN}"),
    ("thread/turns/list", {"threadId": UNKNOWN}, -32600, f"thread not loaded: {UNKNOWN}"),
    ("thread/resume", {"threadId": UNKNOWN}, -32600, f"no rollout found for thread id {UNKNOWN}"),
    ("thread/archive", {"threadId": UNKNOWN}, -32600, f"no rollout found for thread id {UNKNOWN}"),
    ("thread/delete", {"threadId": UNKNOWN}, -32600, f"no rollout found for thread id {UNKNOWN}"),
    ("thread/name/set", {"threadId": UNKNOWN, "name": "x"}, -32600, f"no rollout found for thread id {UNKNOWN}"),
    ("thread/name/set", {"threadId": "THREAD", "name": "  "}, -32600, "thread name must not be empty"),
    ("thread/unarchive", {"threadId": UNKNOWN}, -32600, f"no archived rollout found for thread id {UNKNOWN}"),
    ("fs/watch", {}, -32601, "fs/watch is not served: a watch would hold a worker"),
    ("initialize", {"clientInfo": {"name": "a", "version": "1"}}, -32600, "Already initialized"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "params", "code", "message"), REFUSALS)
def test_a_refusal_has_the_originals_words(house: House, method: str, params: object, code: int, message: str) -> None:
    thread = make_thread(house.store, house.config)
    make_turn(house.store, thread)
    end_turn(house.store, claim_turn(house.store))
    if isinstance(params, dict) and params.get("threadId") == "THREAD":
        params = {**params, "threadId": thread.id}

    client = house.connect()
    error = client.error(method, params)

    assert error["code"] == code
    assert error["message"].startswith(message)
    assert client.call("account/read")["requiresOpenaiAuth"] is False


def test_turns_of_a_thread_in_which_nothing_was_said_are_refused(house: House) -> None:
    thread = make_thread(house.store, house.config)

    error = house.connect().error("thread/turns/list", {"threadId": thread.id})

    assert error["message"].startswith(f"thread {thread.id} is not materialized yet")


def test_the_wrong_turn_is_named_in_the_words_that_the_sdk_parses(house: House) -> None:
    thread = make_thread(house.store, house.config)
    turn = make_turn(house.store, thread)
    client = house.connect()

    steer = client.error("turn/steer", {"threadId": thread.id, "input": [], "expectedTurnId": UNKNOWN})
    interrupt = client.error("turn/interrupt", {"threadId": thread.id, "turnId": UNKNOWN})

    assert steer["message"] == f"expected active turn id `{UNKNOWN}` but found `{turn.id}`"
    assert interrupt["message"] == f"expected active turn id {UNKNOWN} but found {turn.id}"


@pytest.mark.parametrize(
    ("kind", "method", "params"),
    [
        ("compact", "thread/compact/start", {}),
        ("review", "review/start", {"target": {"type": "custom", "instructions": "Look."}}),
    ],
)
def test_a_turn_that_takes_no_messages_says_what_it_is(
    house: House, kind: str, method: str, params: dict[str, object]
) -> None:
    thread = make_thread(house.store, house.config)
    client = house.connect()
    client.call(method, {"threadId": thread.id, **params})
    (turn,) = house.store.turns.of_thread(thread.id, thread.owner)
    message = {"threadId": thread.id, "input": text_input("and?")}

    for error in (
        client.error("turn/steer", {**message, "expectedTurnId": turn.id}),
        client.error("turn/start", message),
    ):
        assert (error["code"], error["message"]) == (-32600, f"cannot steer a {kind} turn")
        assert error["data"]["codexErrorInfo"] == {"activeTurnNotSteerable": {"turnKind": kind}}
    assert client.call("thread/shellCommand", {"threadId": thread.id, "command": "ls"}) == {}
