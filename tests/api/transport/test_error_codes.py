"""What clients see of errors."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError, TimeoutError

from api.app import make_services
from api.transport.error_codes import CODES, wire_error
from shared import errors
from shared.store.connection import POOL_SIZE
from shared.store.outages import OutcomeUnknown
from tests.builders import Backend, claim_turn, end_turn, make_thread, make_turn, text_input

UNKNOWN = "01a202e8-05e8-7e83-b3af-000000000000"


def leaves(error: type[Exception]) -> Iterator[type[Exception]]:
    children = error.__subclasses__()
    yield from (leaf for child in children for leaf in leaves(child)) if children else [error]


def test_every_error_of_a_request_has_a_code() -> None:
    assert [leaf for leaf in leaves(errors.RequestError) if leaf not in CODES] == []


def test_an_overload_carries_the_retry_time_that_the_sdk_reads() -> None:
    body = wire_error(errors.Overloaded("too many turns", retry_after_ms=2500), "turn/start").body()

    assert body["code"] == -32001
    assert body["data"] == {"codexErrorInfo": "server_overloaded", "retryAfterMs": 2500}


def test_a_request_that_gets_no_connection_of_the_pool_is_refused_soon(backend: Backend) -> None:
    services = make_services(backend.config)
    engine = services.store.database.engine
    held = [engine.connect() for _ in range(POOL_SIZE)]
    begun_s = time.monotonic()

    with pytest.raises(TimeoutError) as raised:
        services.store.users.exist()

    assert time.monotonic() - begun_s < 25  # SQLAlchemy would wait for 30 s
    error = wire_error(raised.value, "turn/start")
    assert error.codes == CODES[errors.Overloaded]
    assert error.retry_after_ms == 1000
    for connection in held:
        connection.close()
    services.store.close()


def test_change_that_the_database_did_not_confirm_is_not_offered_for_a_retry() -> None:
    error = wire_error(OutcomeUnknown(None, None, Exception("connection lost during COMMIT")), "turn/start")

    assert error.codes == CODES[errors.CallLost]
    assert error.retry_after_ms is None
    assert "check whether it was made" in error.message


@pytest.mark.parametrize("state", ["25006", "53300", "57P03", "40001"])
def test_database_that_refuses_to_work_for_a_moment_is_unavailable(state: str) -> None:
    refused = psycopg.errors.lookup(state)("refused")

    error = wire_error(DBAPIError(None, None, refused), "turn/start")

    assert error.codes == CODES[errors.Unavailable]
    assert error.retry_after_ms is not None


def test_an_unexpected_error_is_logged_and_hidden_from_clients(caplog: pytest.LogCaptureFixture) -> None:
    error = wire_error(RuntimeError("secret path"), "turn/start")

    assert error.body() == {"code": -32603, "message": "internal error"}
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
    ("thread/start", {"config": {"hooks.x": {}}}, -32602, "config.hooks.x: "),
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
def test_error_messages_are_those_of_the_original(
    backend: Backend, method: str, params: object, code: int, message: str
) -> None:
    thread = make_thread(backend.store, backend.config)
    make_turn(backend.store, thread)
    end_turn(backend.store, claim_turn(backend.store))
    if isinstance(params, dict) and params.get("threadId") == "THREAD":
        params = {**params, "threadId": thread.id}

    client = backend.connect()
    error = client.error(method, params)

    assert error["code"] == code
    assert error["message"].startswith(message)
    assert client.call("account/read")["requiresOpenaiAuth"] is False


def test_turns_of_a_thread_without_messages_are_refused(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)

    error = backend.connect().error("thread/turns/list", {"threadId": thread.id})

    assert error["message"].startswith(f"thread {thread.id} is not materialized yet")


def test_steering_the_wrong_turn_names_the_active_one(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    turn = make_turn(backend.store, thread)
    client = backend.connect()

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
def test_steering_a_compaction_or_review_names_its_kind(
    backend: Backend, kind: str, method: str, params: dict[str, object]
) -> None:
    thread = make_thread(backend.store, backend.config)
    client = backend.connect()
    client.call(method, {"threadId": thread.id, **params})
    (turn,) = backend.store.turns.of_thread(thread.id, thread.owner)
    message = {"threadId": thread.id, "input": text_input("and?")}

    for error in (
        client.error("turn/steer", {**message, "expectedTurnId": turn.id}),
        client.error("turn/start", message),
    ):
        assert (error["code"], error["message"]) == (-32600, f"cannot steer a {kind} turn")
        assert error["data"]["codexErrorInfo"] == {"activeTurnNotSteerable": {"turnKind": kind}}
    assert client.call("thread/shellCommand", {"threadId": thread.id, "command": "ls"}) == {}
