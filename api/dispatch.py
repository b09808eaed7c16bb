"""A request in, a reply out; then what was put off until after the reply."""

from __future__ import annotations

import threading
from typing import Any, cast

import orjson

from api import answers
from api.connection import Closed, Connection, Frame
from api.context import Context, Services
from api.error_codes import wire_error
from api.methods import TABLE
from api.methods.without_effect import EMPTY, REFUSED
from api.params import load
from shared import telemetry
from shared.errors import InvalidParams, InvalidRequest, Overloaded, UnknownMethod


def receive(services: Services, connection: Connection, message: Any) -> None:
    """One frame of a WebSocket. What is no request, answer or notification of the protocol is dropped (PROTOCOL 1).

    Errors: Closed, when the reply cannot be queued any more
    """
    if not isinstance(message, dict):
        return
    request_id, method = message.get("id"), message.get("method")
    if type(request_id) not in (int, str):
        return  # a notification (`initialized`), or an id that nobody can be answered under
    if isinstance(method, str):
        reply(services, connection, message)
    elif type(request_id) is int and method is None and connection.initialized:
        answers.receive(services, connection.caller, message)


def reply(services: Services, connection: Connection, request: dict[str, Any]) -> None:
    """Answer a request on its connection; a slow one apart, so that those behind it need not wait for it."""
    ctx = Context(services, connection.caller, connection)
    if not getattr(TABLE.get(request["method"]), "SLOW", False):
        answer(ctx, connection, request)
    elif not connection.slow_requests.acquire(blocking=False):
        busy = wire_error(Overloaded("too many requests of this connection wait for a worker"), request["method"])
        connection.send([Frame(orjson.dumps({"id": request["id"], "error": busy.body()}))])
    else:
        threading.Thread(target=answer_apart, args=(ctx, connection, request), name="slow", daemon=True).start()
        ctx.on_its_way.wait()


def answer_apart(ctx: Context, connection: Connection, request: dict[str, Any]) -> None:
    """In a thread of its own, for as long as it takes."""
    try:
        answer(ctx, connection, request)
    except Closed:
        pass
    finally:
        connection.slow_requests.release()
        ctx.on_its_way.set()


def answer(ctx: Context, connection: Connection, request: dict[str, Any]) -> None:
    """The reply, then what follows it."""
    with telemetry.request_span(_known(request["method"])):
        _answer(ctx, connection, request)


def _known(method: str) -> str:
    return method if method in TABLE else "unknown"


def _answer(ctx: Context, connection: Connection, request: dict[str, Any]) -> None:
    try:
        try:
            body = {"id": request["id"], "result": gated(ctx, request)}
            if ctx.followed is not None:  # from where on events follow: the client's first `afterEventId`
                body["eventId"] = connection.place(ctx.followed)
        except Exception as error:  # noqa: BLE001 - the edge of a request: api.error_codes logs what is unforeseen
            ctx.frames.clear()
            body = {"id": request["id"], "error": wire_error(error, request["method"]).body()}
        connection.send([Frame(orjson.dumps(body)), *ctx.frames])
        ctx.on_its_way.set()
    finally:
        ctx.finish()


def gated(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The handshake comes first, once (PROTOCOL section 2)."""
    assert ctx.connection is not None
    if request["method"] == "initialize":
        if ctx.connection.initialized:
            raise InvalidRequest("Already initialized")
    elif not ctx.connection.initialized:
        raise InvalidRequest("Not initialized")
    return call(ctx, request["method"], request.get("params"))


def call(ctx: Context, name: str, params: Any) -> dict[str, Any]:
    """The result of one method, as it goes over the wire. The caller ends with `ctx.finish()`.

    Errors: RequestError
    """
    ctx.services.limits.check_request(ctx.user_id)
    if name in EMPTY:
        return EMPTY[name]
    if name in REFUSED:
        raise UnknownMethod(f"{name} is not served: {REFUSED[name]}")
    method = TABLE.get(name)
    if method is None:
        known = ", ".join(f"`{one}`" for one in sorted([*TABLE, *EMPTY]))
        raise UnknownMethod(f"Invalid request: unknown variant `{name[:200]}`, expected one of {known}")
    if params is None:
        if not method.Params.may_be_missing:
            raise InvalidParams("Invalid request: missing field `params`")
        params = {}
    loaded = load(method.Params(), params)
    if isinstance(loaded.get("thread_id"), str):
        ctx.hold(loaded["thread_id"])
    return cast(dict[str, Any], method.Result().dump(method.handle(ctx, loaded)))
