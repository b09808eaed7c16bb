"""The OpenAPI document as one HTML page that loads nothing from elsewhere: GET /docs."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from api.transport.error_codes import CODES

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}"
    "pre,code{background:#8882;border-radius:3px}pre{padding:.75rem;overflow:auto}code{padding:0 .2em}"
    "pre code{background:none;padding:0}h2{margin-top:3rem}"
    "h3{margin-top:2.5rem;border-top:1px solid #8885;padding-top:1rem}h4{margin-bottom:.25rem}"
    "table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #8883}"
    "nav dt{font-weight:600;margin-top:.75rem}nav dd{margin:0 0 0 1rem}"
)
CONNECTING = """Open a WebSocket at `/` and send JSON-RPC requests without the member `jsonrpc`. The first one is
`initialize`. After it send the notification `{"method": "initialized"}`.

Params that are not marked as required may be left out or null. Clients should ignore members of results that they
do not know.

Over HTTP every request stands for itself, and needs no `initialize`. An `Idempotency-Key` header on `turn/start` has
the effect of `clientUserMessageId`: a repeated request changes nothing.

To receive events over HTTP, send `Accept: text/event-stream` with `thread/start`, `thread/resume` or `turn/start`: the
response is the result, followed by the thread's events until the turn ends. Or follow a thread with
[GET /v2/thread/events](#thread/events).

The server asks for approvals with requests of its own, such as `item/commandExecution/requestApproval`. Reply to them
on the WebSocket, or with [POST /v2/serverRequest/respond](#serverRequest/respond)."""
ERRORS = """A method lists the errors that are special to it. Besides these every method can fail with InvalidParams
(params of the wrong shape), Unauthorized, Overloaded (too many requests a minute) and Unavailable (a part of the server
does not answer).

On the WebSocket an error has a code and a message. Over HTTP it is a problem (RFC 9457) with the HTTP status, whose
`title` is the name below. Where it makes sense to try again, `retryAfterMs` says when."""
MEANINGS = {
    "InvalidRequest": "The request has the right shape, but is not possible now.",
    "NotFound": "The thing does not exist, or belongs to another user.",
    "BodyTooLarge": "The body of the request is larger than this server accepts.",
    "ConfigWriteRefused": "An edit of your configuration is not possible; config_write_error_code says why.",
    "StaleConfigVersion": "Your configuration has changed since you read it. Read it again, and retry.",
    "HistoryTooLarge": "The thread has more than may be given to a model. Compact it, or start a new one.",
    "Conflict": "The thing is in a state that does not allow this.",
    "NotSteerable": "The running turn takes no input: wait for its end, or interrupt it.",
    "InvalidParams": "The params have a wrong shape, type or range.",
    "UnknownMethod": "The method does not exist, or this server does not serve it.",
    "McpRequestFailed": "An MCP server, or the connection to it, failed. The code may be the server's own.",
    "Overloaded": "A limit is reached. Try again later.",
    "RequestTimeout": "The body of the request did not arrive in time.",
    "Unauthorized": "The API key is missing, wrong, expired or revoked.",
    "Forbidden": "The Origin or Host is not allowed, or the user's role does not allow this.",
    "Unavailable": "A part of the server does not answer. Try again later.",
    "CallLost": "A worker began the request and was lost. Check what it did before you try again.",
}
OBJECT = "object-"  # before a schema's name: its anchor


def page(document: Mapping[str, Any], url: str) -> str:
    """Return the page. url: of this server, for the examples."""
    operations = list(_operations(document))
    schemas = document["components"]["schemas"]
    objects = sorted(name for name in schemas if not name.endswith(("Params", "Result")) and _is_object(schemas[name]))
    return "".join(
        (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Threadhouse: API</title>',
            f"<style>{STYLE}</style><h1>Threadhouse API</h1>{_markup(document['info']['description'])}",
            '<p>For tools: <a href="/openapi.json">openapi.json</a>.</p>',
            f'<h2 id="connecting">Connecting</h2>{_markup(CONNECTING)}',
            f'<h2 id="errors">Errors</h2>{_markup(ERRORS)}{_errors()}',
            f'<h2 id="methods">Methods</h2>{_index(operations)}',
            *(_section(url, schemas, *operation) for operation in operations),
            '<h2 id="objects">Objects</h2>',
            *(_object(name, schemas[name]) for name in objects),
            "</html>",
        )
    )


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield (path, HTTP method, operation), sorted by name."""
    found = [(path, verb, one) for path, verbs in document["paths"].items() for verb, one in verbs.items()]
    yield from sorted(found, key=lambda one: one[2]["operationId"])


def _index(operations: Sequence[tuple[str, str, Mapping[str, Any]]]) -> str:
    rows = []
    for group, members in groupby(operations, key=lambda one: one[2]["operationId"].partition("/")[0]):
        rows.append(f"<dt>{html.escape(group)}</dt>")
        for _, _, operation in members:
            name = html.escape(operation["operationId"])
            rows.append(f'<dd><a href="#{name}">{name}</a>: {_inline(operation["summary"])}</dd>')
    return f"<nav><dl>{''.join(rows)}</dl></nav>"


def _errors() -> str:
    rows = [
        f"<tr><td>{kind.__name__}</td><td>{seen.code}</td><td>{seen.status}</td><td>{MEANINGS[kind.__name__]}</td></tr>"
        for kind, seen in CODES.items()
    ]
    head = "<tr><th>Name</th><th>Code</th><th>HTTP status</th><th>Meaning</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _section(url: str, schemas: Mapping[str, Any], path: str, verb: str, operation: Mapping[str, Any]) -> str:
    name = html.escape(operation["operationId"])
    responses = dict(operation["responses"])
    refused = responses.pop("default")["description"]
    result = next(iter(responses.values()))
    parts = [
        f'<h3 id="{name}">{name}</h3><p>{_inline(operation["summary"])}</p>',
        f"<p><code>{verb.upper()} {html.escape(path)}</code></p>{_markup(operation['description'])}",
    ]
    body = operation.get("requestBody", {}).get("content", {})
    parameters = operation.get("parameters", [])
    if parameters:
        parts.append("<h4>Query and headers</h4>" + _table(_parameter_rows(parameters)))
    for content in list(body.values())[:1]:
        parts.append(_members("Params", content["schema"], schemas))
    for content in list(result["content"].values())[:1]:
        parts.append(_members("Result", content["schema"], schemas))
    if refused != "A problem.":
        parts.append(f"<h4>Errors</h4><ul>{''.join(f'<li>{_inline(one)}</li>' for one in _split(refused))}</ul>")
    parts.append(f"<h4>Example request</h4><pre>{html.escape(_curl(url, path, verb, body, parameters))}</pre>")
    for content in list(result["content"].values())[:1]:
        if "example" in content:
            parts.append(f"<h4>Example response</h4><pre>{html.escape(_json(content['example']))}</pre>")
    return "".join(parts)


def _curl(url: str, path: str, verb: str, body: Mapping[str, Any], parameters: Sequence[Mapping[str, Any]]) -> str:
    query = "&".join(f"{one['name']}={one['example']}" for one in parameters if "example" in one)
    address = f"'{url}{path}?{query}'" if query else f"{url}{path}"
    lines = ['curl -H "Authorization: Bearer $THREADHOUSE_TOKEN"']
    if "application/json" in body:
        example = body["application/json"].get("example", {})
        lines += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(example, ensure_ascii=False)}'"]
    elif body:
        lines += [f"-H 'Content-Type: {next(iter(body))}'", "--data-binary @archive.zip"]
    elif "events" in path:
        lines += ["-N"]
    return " \\\n     ".join([*lines, address])


def _json(example: object) -> str:
    return example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)


def _split(errors: str) -> list[str]:
    """Return the errors of a list such as "NotFound; Conflict (archived)"."""
    return [one.strip() for one in re.split(r";(?![^(]*\))", errors) if one.strip()]


# -- schemas


def _members(title: str, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """Return a titled table of an object's members; nothing for an object of which no members are known."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
    if not _is_object(schema):
        return ""
    of_params = title == "Params"
    about = "" if of_params else _markup(schema.get("description", ""))  # the method's own text describes its params
    rows = _property_rows(schema["properties"], schema.get("required", []), of_params)
    return f"<h4>{title}</h4>{about}{_table(rows)}"


def _is_object(schema: Mapping[str, Any]) -> bool:
    return bool(schema.get("properties"))


def _object(name: str, schema: Mapping[str, Any]) -> str:
    rows = _property_rows(schema.get("properties", {}), schema.get("required", []), False)
    about = _markup(schema.get("description", ""))
    return f'<h3 id="{OBJECT}{html.escape(name)}">{html.escape(name)}</h3>{about}{_table(rows)}'


def _table(rows: Sequence[tuple[str, str, str]]) -> str:
    cells = "".join(
        f"<tr><td><code>{name}</code></td><td>{kind}</td><td>{about}</td></tr>" for name, kind, about in rows
    )
    return f"<table><tr><th>Name</th><th>Type</th><th>Description</th></tr>{cells}</table>"


def _parameter_rows(parameters: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    properties = {one["name"]: {**one["schema"], "description": one.get("description", "")} for one in parameters}
    return _property_rows(properties, [one["name"] for one in parameters if one.get("required")], True)


def _property_rows(
    properties: Mapping[str, Mapping[str, Any]], required: Sequence[str], of_params: bool
) -> list[tuple[str, str, str]]:
    rows = []
    for name, schema in sorted(properties.items(), key=lambda one: of_params and one[0] not in required):
        kind = _kind(schema)
        if of_params:
            kind = f"{kind}, required" if name in required else kind.removesuffix(" or null")
        elif name not in required:
            kind += ", may be missing"
        about = _inline(_sentence(schema.get("description", "")))
        if schema.get("default") not in (None, "", [], {}):
            about += f" Default: <code>{html.escape(json.dumps(schema['default']))}</code>."
        rows.append((html.escape(name), kind, about.strip()))
    return rows


def _kind(schema: Mapping[str, Any]) -> str:
    """Return the type of a value, in HTML."""
    if "$ref" in schema:
        name = html.escape(schema["$ref"].rsplit("/", 1)[1])
        return f'<a href="#{OBJECT}{name}">{name}</a>'
    for key, word in (("anyOf", " or "), ("oneOf", " or "), ("allOf", " and ")):
        if key in schema:
            return word.join(dict.fromkeys(_kind(option) for option in schema[key]))
    types = schema.get("type", "any JSON")
    types = list(types) if isinstance(types, list) else [types]
    return " or ".join(_plain_kind(kind, schema) for kind in types)


def _plain_kind(kind: str, schema: Mapping[str, Any]) -> str:
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if kind == "object" and schema.get("additionalProperties"):
        return f"object of {_kind(schema['additionalProperties'])}"
    if kind == "string" and "enum" in schema:
        choices = [json.dumps(choice) for choice in schema["enum"] if choice is not None]
        return " or ".join(f"<code>{html.escape(choice)}</code>" for choice in choices)
    return html.escape(kind)


# -- markup of docstrings


def _sentence(text: str) -> str:
    """Return a description with a capital letter and a full stop, unless it has them."""
    if not text:
        return ""
    end = "" if text[-1] in ".!?" else "."
    return (text[0].upper() if text[0].isalpha() else text[0]) + text[1:] + end


def _markup(text: str) -> str:
    """Return paragraphs."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in paragraphs)


def _inline(text: str) -> str:
    """Return a text with `code`, and with [links](#to) within the page."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
    return re.sub(r"\[([^\]]+)\]\((#[^)\s]+)\)", r'<a href="\2">\1</a>', text)
