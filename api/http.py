"""The same methods over HTTP: POST /v2/<method>, event streams, problem details (RFC 9457), health."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import orjson
import redis
import sqlalchemy.exc
from flask import Flask, Response, request
from gunicorn.http.errors import NoMoreData, ParseException
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge
from werkzeug.exceptions import NotFound as NotFoundPage
from werkzeug.routing.exceptions import WebsocketMismatch

from api import answers, dispatch
from api.auth import Auth
from api.caller import Caller
from api.connection import Closed, Connection, Frame, notification
from api.context import Context, Services
from api.error_codes import wire_error
from api.relay import Start
from api.watch import Watch
from shared import announcements
from shared.errors import CallLost, Conflict, InvalidParams, InvalidRequest, RequestError, Unavailable
from shared.protocol.frames import decode
from shared.store.turns import Turn

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 16 * 1024 * 1024
KEEP_ALIVE_SECONDS = 10.0
STREAMED = ("thread/start", "thread/resume", "turn/start")  # with Accept: text/event-stream
EVENT_STREAM = "text/event-stream"
CURSOR_EXPIRED = "threadhouse/cursorExpired"
ROOT_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Threadhouse</title>
<h1>Threadhouse</h1>
<p>A server for coding-agent threads. It speaks the Codex app-server protocol (v2).</p>
<pre>
codex -s workspace-write --remote ws://{host}
curl -N -H 'Accept: text/event-stream' -H 'Content-Type: application/json' \\
     -d '{{}}' http://{host}/v2/thread/start
</pre>
<p><a href="/docs">All methods</a></p>
</html>
"""


def register(app: Flask, services: Services, auth: Auth, watch: Watch) -> None:
    """The routes."""
    doors = _Doors(services, auth, watch)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.add_url_rule("/", "root", doors.root, methods=["GET"])
    app.add_url_rule("/readyz", "readyz", doors.ready, methods=["GET"])
    app.add_url_rule("/healthz", "healthz", doors.healthy, methods=["GET"])
    app.add_url_rule("/v2/thread/events", "thread_events", doors.thread_events, methods=["GET"])
    app.add_url_rule("/v2/serverRequest/respond", "respond", doors.respond, methods=["POST"])
    app.add_url_rule("/v2/<path:method>", "method", doors.method, methods=["POST"])
    app.register_error_handler(Exception, problem)


def problem(error: Exception) -> Response:
    """Problem details: {"type", "title", "status", "detail", "code", "retryAfterMs"?}."""
    if isinstance(error, ParseException | NoMoreData):  # while the body was read
        error = InvalidRequest("the body breaks off, or its chunks are malformed")
    if isinstance(error, WebsocketMismatch):  # only upgrades are served there
        error = NotFoundPage()
    if isinstance(error, HTTPException):
        status = error.code or 500
        body: dict[str, Any] = {"type": "about:blank", "title": error.name, "status": status, "code": -32600}
        if isinstance(error, RequestEntityTooLarge):
            body["detail"] = "a body may have 16 MiB"
        if isinstance(error, NotFoundPage | MethodNotAllowed):
            body["detail"] = "a method is asked by POST /v2/<method>, with its params as the JSON body; /docs lists all"
        return _problem(status, body)
    told = wire_error(error, request.path)
    status = told.seen.status
    body = {"type": "about:blank", "title": _title(error), "status": status, "detail": told.message}
    body["code"] = told.seen.code
    response = _problem(status, body | (told.body().get("data") or {}))
    if told.retry_after_ms is not None:
        response.headers["Retry-After"] = str(-(-told.retry_after_ms // 1000))
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _title(error: Exception) -> str:
    return type(error).__name__ if isinstance(error, RequestError | Unavailable | CallLost) else "InternalError"


def _problem(status: int, body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), status, content_type="application/problem+json")


class _Doors:
    def __init__(self, services: Services, auth: Auth, watch: Watch) -> None:
        self._services = services
        self._auth = auth
        self._watch = watch

    # -- what this is, and whether it works

    def root(self) -> Response:
        self._auth.check_origin(request)
        self._auth.check_host(request)
        return Response(ROOT_PAGE.format(host=_escaped(request.host)), content_type="text/html; charset=utf-8")

    def healthy(self) -> Response:
        self._auth.check_origin(request, own_allowed=False)
        return Response(status=200)

    def ready(self) -> Response:
        """200 only when Redis and the database answer."""
        self._auth.check_origin(request, own_allowed=False)
        try:
            self._services.redis.ping()
            self._services.store.users.exist()
        except (redis.RedisError, sqlalchemy.exc.SQLAlchemyError) as error:
            raise Unavailable(f"not ready: {type(error).__name__}") from None
        return Response(status=200)

    # -- methods

    def method(self, method: str) -> Response:
        """POST /v2/<method>: params as the body, the result as the body, or as the first event of a stream."""
        caller = self._caller()
        params = self._body()
        if method in STREAMED and EVENT_STREAM in request.headers.get("Accept", ""):
            return self._stream_method(caller, method, params)
        ctx = Context(self._services, caller)
        result = dispatch.call(ctx, method, params)
        response = Response(orjson.dumps(result), content_type="application/json")
        ctx.finish()
        return response

    def respond(self) -> Response:
        """POST /v2/serverRequest/respond {"requestId", "result"}: answer a question. 409: it is settled already."""
        caller = self._caller()
        body = self._body()
        request_id, result = body.get("requestId"), body.get("result")
        if type(request_id) is not int or not isinstance(result, dict):
            raise InvalidParams("expected {requestId: integer, result: object}")
        if answers.take(self._services, caller, request_id, result) is None:
            raise Conflict("nobody waits for this answer: it was given already, or the question is gone")
        return Response(b"{}", content_type="application/json")

    def _caller(self) -> Caller:
        self._auth.check_origin(request)
        return self._auth.caller(request, "http")

    def _body(self) -> dict[str, Any]:
        raw = request.get_data(cache=False)
        try:
            body = decode(raw) if raw.strip() else {}
        except ValueError:
            raise InvalidParams("the body is not JSON") from None
        if not isinstance(body, dict):
            raise InvalidParams("the body is not a JSON object")
        key = request.headers.get("Idempotency-Key")
        if key and request.path == "/v2/turn/start" and body.get("clientUserMessageId") is None:
            body["clientUserMessageId"] = key
        return body

    # -- streams

    def thread_events(self) -> Response:
        """GET /v2/thread/events?threadId=…: what happens in a thread, until the client leaves."""
        caller = self._caller()
        self._services.limits.check_request(caller.user_id)
        ctx = self._streaming(caller)
        assert ctx.connection is not None
        thread = ctx.get_thread(request.args.get("threadId", ""))
        cursor = request.headers.get("Last-Event-ID") or request.args.get("lastEventId") or None
        try:
            ctx.connection.leave = self._services.limits.enter(ctx.user_id)
            start = ctx.follow(thread.id, cursor)
            assert start is not None
            first = self._beginning(ctx, thread.id, start)
            place = "" if ctx.frames else ctx.connection.place(thread.id)
            ctx.connection.send(first + ctx.frames)
        except Exception:
            self._end(ctx.connection)
            raise
        finally:
            ctx.finish()
        # Clients see the headers with the first bytes; an id without data tells them only where they stand.
        opening = b"id: %b\n\n" % place.encode() if place else b": connected\n\n"
        return self._stream(ctx.connection, lambda frame: False, opening)

    def _beginning(self, ctx: Context, thread_id: str, start: Start) -> list[Frame]:
        """The open items and questions; a client whose cursor is gone is told first where to find what it missed."""
        if not start.fresh:
            return []
        thread = ctx.get_thread(thread_id)
        turns = ctx.store.turns.of_thread(thread_id, ctx.user_id, descending=True, limit=1)
        pending = ctx.store.approvals.pending(thread_id, ctx.user_id)
        ctx.show(thread, start, last_turn=turns[0] if turns else None, pending=pending)
        if not start.expired:
            return []
        told = {"threadId": thread_id, "message": "events were missed; read the thread with thread/read"}
        return [notification(CURSOR_EXPIRED, told)]

    def _stream_method(self, caller: Caller, method: str, params: dict[str, Any]) -> Response:
        ctx = self._streaming(caller)
        assert ctx.connection is not None
        try:
            ctx.connection.leave = self._services.limits.enter(caller.user_id)
            if method == "turn/start" and isinstance(params.get("threadId"), str):
                thread = ctx.get_thread(params["threadId"])
                start = ctx.follow(thread.id)
                assert start is not None
                self._beginning(ctx, thread.id, start)
            result = dispatch.call(ctx, method, params)
            following = self._already_ended(ctx, result) if method == "turn/start" else []
            following = following or ctx.frames
            place = "" if following else ctx.connection.place(ctx.connection.followed()[0])
            ctx.connection.send([Frame(orjson.dumps({"result": result}), "result", place), *following])
        except Exception:
            self._end(ctx.connection)
            raise
        finally:
            ctx.finish()
        if method == "turn/start":
            last = f"turn:{result['turn']['id']}:completed"
            return self._stream(ctx.connection, lambda frame: frame.key == last)
        return self._stream(ctx.connection, lambda frame: frame.method == "turn/completed")

    def _already_ended(self, ctx: Context, result: dict[str, Any]) -> list[Frame]:
        """turn/completed of a turn that was over before: the request was sent again."""
        if result["turn"]["status"] == "inProgress":
            return []
        turn: Turn = ctx.store.turns.get(result["turn"]["id"], ctx.user_id)
        final = announcements.final_message(ctx.store.items.of_turn(turn.id))
        end = announcements.turn_ended(turn, final)[-1]
        return [Frame(end.head() + b"}", end.method, key=end.key)]

    def _streaming(self, caller: Caller) -> Context:
        connection = Connection(caller, self._services.events)
        connection.initialized = True
        return Context(self._services, caller, connection)

    def _stream(self, connection: Connection, is_last: Callable[[Frame], bool], opening: bytes = b"") -> Response:
        response = Response(self._events(connection, is_last, opening), content_type=EVENT_STREAM)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"
        self._watch.add(connection, partial(_cut, request.environ.get("gunicorn.socket")))
        response.call_on_close(lambda: self._end(connection))
        return response

    def _end(self, connection: Connection) -> None:
        self._watch.remove(connection)
        self._services.relay.detach(connection)
        connection.leave()

    def _events(self, connection: Connection, is_last: Callable[[Frame], bool], opening: bytes) -> Iterator[bytes]:
        if opening:
            yield opening
        while True:
            try:
                frames = connection.take(KEEP_ALIVE_SECONDS)
            except redis.RedisError as error:
                logger.warning("a thread's log could not be read: %s", error)
                yield b": waiting\n\n"
                continue
            except Closed:
                return
            if not frames:
                yield b": keep-alive\n\n"
            for place, frame in enumerate(frames):
                if is_last(frame):
                    yield b"".join(map(_event, frames[: place + 1]))
                    return
            if frames:
                yield b"".join(map(_event, frames))


def _event(frame: Frame) -> bytes:
    """One server-sent event; JSON holds no raw line end."""
    head = b"id: %b\n" % frame.event_id.encode() if frame.event_id else b""
    return b"%bevent: %b\ndata: %b\n\n" % (head, frame.method.encode(), frame.data)


def _cut(stream: socket.socket | None) -> None:
    """End a stream that nobody reads."""
    if stream is not None:
        with suppress(OSError):
            stream.shutdown(socket.SHUT_RDWR)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
