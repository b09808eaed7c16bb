"""The method table as an OpenAPI document, and as a page to read: GET /openapi.json, GET /docs."""

from __future__ import annotations

import html
import json
import re
from functools import cache
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask, Response, request

from api.auth import Auth
from api.examples import EXAMPLES
from api.methods import TABLE
from api.methods.without_effect import EMPTY
from shared.protocol.thread import CODEX_VERSION

ABOUT = """The Codex app-server protocol (v2) over HTTP: params as the body, the result as the body. The same methods
are served on the WebSocket at `/`. `thread/start`, `thread/resume` and `turn/start` with `Accept: text/event-stream`
answer with the result and then the thread's events; `GET /v2/thread/events?threadId=…` follows a thread; a question
(`item/…/requestApproval`) is answered with `POST /v2/serverRequest/respond`. An `Idempotency-Key` on `turn/start`
stands for its `clientUserMessageId`. `config.workspace` of `thread/start` names what the thread's folder begins with:
{"gitUrl", "ref", "credential"} or {"archive"}, the id that `POST /v2/workspace/archive` (a zip, tar or tar.gz as the
body) answers with. `GET /v2/thread/workspace?threadId=…&format=diff|bundle|tar` downloads what became of it."""
PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem details; code is that of JSON-RPC.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "integer"},
        "retryAfterMs": {"type": "integer"},
    },
    "required": ["type", "title", "status", "code"],
}
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "pre{background:#8881;padding:.75rem;overflow:auto}h2{margin-top:2.5rem}nav a{margin-right:1em}"
)


def register(app: Flask, auth: Auth) -> None:
    """The routes; they tell nothing of anybody, so they need no credential."""

    def openapi() -> Response:
        auth.check_origin(request)
        auth.check_host(request)
        return Response(json.dumps(document()), content_type="application/json")

    def docs() -> Response:
        auth.check_origin(request)
        auth.check_host(request)
        return Response(page(request.host_url.rstrip("/")), content_type="text/html; charset=utf-8")

    app.add_url_rule("/openapi.json", "openapi", openapi, methods=["GET"])
    app.add_url_rule("/docs", "docs", docs, methods=["GET"])


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1 over all methods that answer."""
    spec = APISpec(
        title="Threadhouse",
        version=CODEX_VERSION,
        openapi_version="3.1.0",
        plugins=[MarshmallowPlugin(schema_name_resolver=_schema_name)],
        info={"description": ABOUT},
        security=[{"key": []}],
    )
    spec.components.security_scheme("key", {"type": "http", "scheme": "bearer"})
    spec.components.schema("Problem", PROBLEM)
    for name, method in sorted(TABLE.items()):
        about = (method.__doc__ or "").strip().partition(": ")[2]
        details = "\n\n".join(_text(one) for one in (method.Params.__doc__, method.Result.__doc__) if one)
        spec.path(f"/v2/{name}", operations={"post": _operation(name, about, details, method.Params, method.Result)})
    for name in sorted(EMPTY):
        spec.path(f"/v2/{name}", operations={"post": _operation(name, "Empty by design.", "", None, None)})
    return dict(spec.to_dict())


def _operation(name: str, about: str, details: str, params: Any, result: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"schema": params or {"type": "object"}}
    if name in EXAMPLES:
        body["example"] = EXAMPLES[name]
    answered = {"description": "The result.", "content": {"application/json": {"schema": result or {"type": "object"}}}}
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    refused = {"description": "Refused.", "content": {"application/problem+json": problem}}
    return {
        "operationId": name,
        "summary": about,
        "description": details,
        "requestBody": {"content": {"application/json": body}},
        "responses": {"200": answered, "default": refused},
    }


def _schema_name(schema: Any) -> str:
    """`api.methods.thread_fork.Params` → ThreadForkParams; one of another module keeps its name."""
    kind = schema if isinstance(schema, type) else type(schema)
    room, _, module = kind.__module__.rpartition(".")
    prefix = "".join(word.capitalize() for word in module.split("_")) if room == "api.methods" else ""
    return prefix + kind.__name__


def _text(docstring: str) -> str:
    return re.sub(r"\n +", "\n", docstring.strip())


def page(url: str) -> str:
    """The same as HTML that needs nothing from elsewhere. url: of this server, for the examples."""
    parts = [_section(url, path.removeprefix("/v2/"), one["post"]) for path, one in document()["paths"].items()]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Threadhouse: methods</title>'
        f"<style>{STYLE}</style>"
        f"<h1>Methods</h1><p>{html.escape(ABOUT)}</p>"
        '<p><a href="/openapi.json">openapi.json</a></p>' + "".join(parts) + "</html>"
    )


def _section(url: str, name: str, operation: dict[str, Any]) -> str:
    example = operation["requestBody"]["content"]["application/json"].get("example", {})
    curl = (
        f"curl -H \"Authorization: Bearer $THREADHOUSE_TOKEN\" -H 'Content-Type: application/json' \\\n"
        f"     -d '{json.dumps(example)}' {url}/v2/{name}"
    )
    return (
        f'<h2 id="{html.escape(name)}">{html.escape(name)}</h2><p>{html.escape(operation["summary"])}</p>'
        f"<pre>{html.escape(operation['description'])}</pre><pre>{html.escape(curl)}</pre>"
    )
