"""Errors as problem details over HTTP (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from flask import Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.exceptions import NotFound as NotFoundPage
from werkzeug.routing.exceptions import WebsocketMismatch

from api.transport.error_codes import wire_error
from shared.errors import CallLost, RequestError, Unavailable

INVALID_REQUEST = -32600  # the code of errors that no method has raised


def problem(error: Exception) -> Response:
    """Return an error as {"type", "title", "status", "detail", "code", "retryAfterMs"?}."""
    if isinstance(error, WebsocketMismatch):  # a path that serves only WebSocket upgrades
        error = NotFoundPage()
    if isinstance(error, HTTPException):
        return _http_problem(error)
    wire = wire_error(error, request.path)
    body = {
        "type": "about:blank",
        "title": _title(error),
        "status": wire.codes.status,
        "detail": wire.message,
        "code": wire.codes.code,
    }
    response = _response(wire.codes.status, body | dict(wire.body().get("data") or {}))
    if wire.retry_after_ms is not None:
        response.headers["Retry-After"] = str(-(-wire.retry_after_ms // 1000))
    if wire.codes.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _http_problem(error: HTTPException) -> Response:
    """Return an error that Flask itself has raised."""
    status = error.code or 500
    body = {"type": "about:blank", "title": error.name, "status": status, "code": INVALID_REQUEST}
    if isinstance(error, NotFoundPage | MethodNotAllowed):
        body["detail"] = "call a method by POST /v2/<method> with its params as the JSON body; /docs lists all methods"
    return _response(status, body)


def _title(error: Exception) -> str:
    return type(error).__name__ if isinstance(error, RequestError | Unavailable | CallLost) else "InternalError"


def _response(status: int, body: Mapping[str, object]) -> Response:
    return Response(orjson.dumps(dict(body)), status, content_type="application/problem+json")
