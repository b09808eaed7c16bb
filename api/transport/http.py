"""The same methods over HTTP: POST /v2/<method>, event streams, health.

Generic over the method table. Streams are api.transport.event_streams, errors api.transport.problems.
"""

from __future__ import annotations

from typing import Any

import orjson
from flask import Flask, Response, request

from api.access.auth import Auth
from api.access.caller import Caller
from api.access.capacity import BodyReservation
from api.requests.context import Context
from api.requests.services import Services
from api.transport import answers, dispatch, share_routes
from api.transport.credential_watch import CredentialWatch
from api.transport.drain import Drain
from api.transport.event_streams import EVENT_STREAM, STREAMED_METHODS, EventStreams
from api.transport.problems import problem
from api.transport.readiness import Readiness
from api.transport.request_body import drop_rest, read_body
from shared.errors import BodyTooLarge, Conflict, Forbidden, InvalidParams
from shared.protocol.frames import TooManyValues, decode_request

MAX_BODY_BYTES = 16 * 1024 * 1024
BODY_SECONDS = 120.0  # in which the whole body has to arrive
TOO_LARGE = "the body is larger than 16 MiB, the most that this server accepts"


def register(app: Flask, services: Services, auth: Auth, watch: CredentialWatch, drain: Drain) -> None:
    """Add the routes to the application."""
    streams = EventStreams(services, watch, drain)
    routes = _Routes(services, auth, streams, drain)
    share_routes.register(app, services, auth, streams)
    app.add_url_rule("/readyz", "readyz", routes.ready, methods=["GET"])
    app.add_url_rule("/statusz", "statusz", routes.status, methods=["GET"])
    app.add_url_rule("/healthz", "healthz", routes.healthy, methods=["GET"])
    app.add_url_rule("/v2/thread/events", "thread_events", routes.thread_events, methods=["GET"])
    app.add_url_rule("/v2/user/events", "user_events", routes.user_events, methods=["GET"])
    app.add_url_rule("/v2/serverRequest/respond", "respond", routes.respond, methods=["POST"])
    app.add_url_rule("/v2/<path:method>", "method", routes.method, methods=["POST"])
    app.register_error_handler(Exception, problem)
    app.wsgi_app = drop_rest(app.wsgi_app)  # type: ignore[method-assign, assignment]


class _Routes:
    def __init__(self, services: Services, auth: Auth, streams: EventStreams, drain: Drain) -> None:
        self._services = services
        self._auth = auth
        self._drain = drain
        self._streams = streams
        self._readiness = Readiness(services)

    # -- the server itself

    def healthy(self) -> Response:
        """GET /healthz: 200 while the process answers."""
        self._auth.check_origin(request, own_allowed=False)
        return Response(status=200)

    def ready(self) -> Response:
        """GET /readyz: 200 when Redis and the database answer, and the process does not shut down."""
        self._auth.check_origin(request, own_allowed=False)
        self._drain.check()
        self._readiness.check_ready()
        return Response(status=200)

    def status(self) -> Response:
        """GET /statusz: 200 when the whole deployment does its work, otherwise 503; the body says what is wrong.

        Body: {"ok", "checks": [{"name", "ok", "message"}]}. On a server with users only admins may read it.
        """
        self._readiness.check_ready()  # first, because the caller is looked up in the database
        if self._caller().user.role != "admin":
            raise Forbidden("only admins may read the status")
        checks = self._readiness.status()
        ok = all(check.ok for check in checks)
        body = orjson.dumps({"ok": ok, "checks": checks})
        return Response(body, status=200 if ok else 503, content_type="application/json")

    # -- methods

    def method(self, method: str) -> Response:
        """POST /v2/<method>: params as the body, the result as the body, or as the first event of a stream."""
        caller = self._caller()
        with self._services.limits.bodies.reserve(caller.user_id) as reserved:
            params = self._body(reserved)
            if method in STREAMED_METHODS and EVENT_STREAM in request.headers.get("Accept", ""):
                return self._streams.call_method(caller, method, params)
            ctx = Context(self._services, caller)
            try:
                data = orjson.dumps(dispatch.call(ctx, method, params))
                release = self._services.limits.replies.reserve(caller.user_id, len(data))
                response = Response(data, content_type="application/json")
                response.call_on_close(release)
                return response
            finally:
                ctx.finish()

    def thread_events(self) -> Response:
        """GET /v2/thread/events?threadId=…: a stream of what happens in a thread, until the client leaves."""
        caller = self._caller()
        cursor = request.headers.get("Last-Event-ID") or request.args.get("lastEventId") or None
        return self._streams.follow_thread(caller, request.args.get("threadId", ""), cursor)

    def user_events(self) -> Response:
        """GET /v2/user/events: a stream of what happens to the caller's threads, such as a new status."""
        return self._streams.follow_user(self._caller())

    def respond(self) -> Response:
        """POST /v2/serverRequest/respond {"requestId", "result"}: answer a server request. 409: it is resolved."""
        caller = self._caller()
        with self._services.limits.bodies.reserve(caller.user_id) as reserved:
            body = self._body(reserved)
        request_id, result = body.get("requestId"), body.get("result")
        if type(request_id) is not int or not isinstance(result, dict):
            raise InvalidParams("expected {requestId: integer, result: object}")
        if answers.store_answer(self._services, caller, request_id, result) is None:
            raise Conflict(
                "nothing waits for this answer: somebody has answered already, or the request is unknown; "
                "serverRequest/list has those that still wait"
            )
        return Response(b"{}", content_type="application/json")

    def _caller(self) -> Caller:
        """Return who sends the request, which counts. Nothing of the body is read before. Errors: RequestError."""
        self._auth.check_origin(request)
        caller = self._auth.authenticate(request, "http")
        self._services.limits.check_request(caller.user_id)
        return caller

    def _body(self, reserved: BodyReservation) -> dict[str, Any]:
        """Return the JSON body. Errors: InvalidParams, and those of read_body."""
        raw = read_body(reserved, MAX_BODY_BYTES, BODY_SECONDS, too_large=TOO_LARGE)
        try:
            body = decode_request(raw) if raw.strip() else {}
        except TooManyValues as error:
            raise BodyTooLarge(str(error)) from None
        except ValueError as error:
            raise InvalidParams(f"the body is not JSON: {error}") from None
        if not isinstance(body, dict):
            raise InvalidParams("the body is not a JSON object; send the method's params as one")
        key = request.headers.get("Idempotency-Key")
        if key and request.path == "/v2/turn/start" and body.get("clientUserMessageId") is None:
            body["clientUserMessageId"] = key
        return body
