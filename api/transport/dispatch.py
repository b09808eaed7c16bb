"""A request in, a reply out; then what was deferred until after the reply.

Owns the order of a request's steps, the handshake rule and the threads of slow requests. Knows no transport's bytes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import NotRequired, TypedDict, cast

import orjson

from api.access.capacity import BodyReservation
from api.delivery.close_codes import Closed
from api.delivery.connection import Connection
from api.delivery.frames import Frame
from api.methods import TABLE
from api.methods.without_effect import EMPTY, REFUSED
from api.requests.context import Context
from api.requests.params import load_params
from api.requests.schemas import to_wire
from api.requests.services import Services
from api.transport import answers
from api.transport.access_log import AccessLog
from api.transport.error_codes import wire_error
from shared import telemetry
from shared.errors import InvalidParams, InvalidRequest, Overloaded, RequestError, Unavailable, UnknownMethod

_access_log = AccessLog()  # of this process


class Request(TypedDict):
    """A request frame. params: as the client sent them."""

    id: int | str
    method: str
    params: NotRequired[object]


class Reply(TypedDict):
    """A response frame. eventId: from where on events follow, as a cursor; only of requests that subscribe."""

    id: int | str
    result: NotRequired[Mapping[str, object]]
    error: NotRequired[Mapping[str, object]]
    eventId: NotRequired[str]


def handle_message(services: Services, connection: Connection, message: object, reserved: BodyReservation) -> None:
    """Handle one frame of a WebSocket; drop it if it is no request, response or notification (PROTOCOL 1).

    reserved: the memory that the frame takes; a slow request keeps it for longer than this call
    Errors: Closed, when the reply cannot be queued any more
    """
    if not isinstance(message, dict):
        return
    request_id, method = message.get("id"), message.get("method")
    if type(request_id) not in (int, str):
        return  # a notification (`initialized`), or an id that no reply could carry
    if isinstance(method, str):
        handle_request(services, connection, cast(Request, message), reserved)
    elif type(request_id) is int and method is None and connection.initialized:
        connection.begin_request()
        try:
            answers.handle_response(services, connection, message)
        finally:
            connection.end_request()


def handle_request(services: Services, connection: Connection, request: Request, reserved: BodyReservation) -> None:
    """Answer a request on its connection. A slow one runs in a thread, so that later requests need not wait for it."""
    ctx = Context(services, connection.caller, connection, request["id"])
    if connection.is_leaving:
        _refuse(connection, request, Unavailable("this server process shuts down: connect again and repeat it"))
    elif not getattr(TABLE.get(request["method"]), "SLOW", False):
        connection.begin_request()
        try:
            answer(ctx, connection, request)
        finally:
            connection.end_request()
    elif not connection.slow_requests.acquire(blocking=False):
        busy = "too many requests of this connection wait for a worker; retry when one was answered"
        _refuse(connection, request, Overloaded(busy))
    else:
        connection.begin_request()
        arguments = (ctx, connection, request, reserved.transfer())
        threading.Thread(target=_answer_slow, args=arguments, name="slow", daemon=True).start()
        ctx.only_waits.wait()


def _refuse(connection: Connection, request: Request, error: Overloaded | Unavailable) -> None:
    """Answer a request that is not handled. Errors: Closed."""
    body = wire_error(error, request["method"]).body()
    connection.send([Frame(orjson.dumps({"id": request["id"], "error": body}))])


def _answer_slow(ctx: Context, connection: Connection, request: Request, reserved: BodyReservation) -> None:
    try:
        with reserved:
            answer(ctx, connection, request)
    except Closed:
        pass
    finally:
        connection.slow_requests.release()
        connection.end_request()
        ctx.only_waits.set()


def answer(ctx: Context, connection: Connection, request: Request) -> None:
    """Queue the reply and the frames that follow it, then make the deferred calls. Errors: Closed."""
    method = request["method"]
    with telemetry.request_span(method if method in TABLE else "unknown"):
        try:
            data, release = _reply(ctx, connection, request)
            connection.send([Frame(data), *ctx.frames], release)
            ctx.only_waits.set()
        finally:
            ctx.finish()


def _reply(ctx: Context, connection: Connection, request: Request) -> tuple[bytes, Callable[[], None]]:
    """Return the answer to a request, and what gives its memory back.

    Errors: Closed, when the connection ended before the work began
    """
    try:
        reply: Reply = {"id": request["id"], "result": call_initialized(ctx, connection, request)}
        if ctx.followed is not None:
            reply["eventId"] = connection.position(ctx.followed)
        data = orjson.dumps(reply)
        return data, ctx.services.limits.replies.reserve(ctx.user_id, len(data))
    except Closed:
        raise
    except Exception as error:  # noqa: BLE001 - the edge of a request: error_codes logs an unexpected error
        ctx.frames.clear()
        if ctx.followed is not None and ctx.has_begun_to_follow:
            # Or the request, sent again, would find the thread followed, and would not repeat what is open in it.
            ctx.services.relay.unfollow(connection, ctx.followed)
        failed: Reply = {"id": request["id"], "error": wire_error(error, request["method"]).body()}
        return orjson.dumps(failed), lambda: None


def call_initialized(ctx: Context, connection: Connection, request: Request) -> Mapping[str, object]:
    """Call a method if the handshake allows it: `initialize` comes first, and only once (PROTOCOL section 2)."""
    if request["method"] == "initialize":
        if connection.initialized:
            raise InvalidRequest("Already initialized")
    elif not connection.initialized:
        raise InvalidRequest("Not initialized")
    ctx.services.limits.check_request(ctx.user_id)
    return call(ctx, request["method"], request.get("params"))


def call(ctx: Context, name: str, params: object) -> Mapping[str, object]:
    """Return the result of one method, as it goes over the wire. The caller must call `ctx.finish()` in the end.

    The transport has counted the request. Errors: RequestError
    """
    began_at, status, outcome = time.monotonic(), "ok", "ok"
    try:
        return _call(ctx, name, params)
    except Exception as error:
        status = type(error).__name__
        outcome = "refused" if isinstance(error, RequestError | Closed) else "failed"
        raise
    finally:
        method = name if name in TABLE or name in EMPTY or name in REFUSED else "unknown"
        duration_ms = round((time.monotonic() - began_at) * 1000)
        _access_log.add(method, ctx.user_id, status, duration_ms)
        telemetry.request_handled(method, outcome, duration_ms)


def _call(ctx: Context, name: str, params: object) -> Mapping[str, object]:
    if name in EMPTY:
        return dict(EMPTY[name])
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
    loaded = load_params(method.Params, params)
    thread_id = getattr(loaded, "thread_id", None)
    if thread_id is not None:
        ctx.pause(thread_id)
    return to_wire(method.handle(ctx, loaded))
