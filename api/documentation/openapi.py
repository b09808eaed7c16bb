"""The OpenAPI document, made from the method table: GET /openapi.json. api.documentation.page shows it at GET /docs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Flask, Response, request
from marshmallow import fields, validate

from api.access.auth import Auth
from api.documentation.page import page
from api.documentation.routes import PROBLEM, ROUTES
from api.methods import TABLE, Method
from api.methods.document import first_line
from api.methods.without_effect import EMPTY, EMPTY_REASONS
from api.requests.params import ParamsSchema
from api.requests.schemas import AllOf, AnyOf, Null, schema_of, sections
from shared.protocol.thread import CODEX_VERSION

ABOUT = """A self-hosted server for threads of coding agents. It serves the Codex app-server protocol (v2).

Every method is served in two ways: as a JSON-RPC request on the WebSocket at `/`, and as `POST /v2/<method>` with the
params as the JSON body and the result as the response body. Authenticate with `Authorization: Bearer <API key>`."""


def register(app: Flask, auth: Auth) -> None:
    """Register the routes. They show nothing about any user, so they need no credential."""

    def openapi() -> Response:
        auth.check_origin(request)
        auth.check_host(request)
        return Response(json.dumps(document()), content_type="application/json")

    def docs() -> Response:
        auth.check_origin(request)
        auth.check_host(request)
        return Response(page(document(), request.host_url.rstrip("/")), content_type="text/html; charset=utf-8")

    app.add_url_rule("/openapi.json", "openapi", openapi, methods=["GET"])
    app.add_url_rule("/docs", "docs", docs, methods=["GET"])


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of all methods that answer and of the other routes."""
    plugin = MarshmallowPlugin(schema_name_resolver=_schema_name)
    spec = APISpec(
        title="Threadhouse",
        version=CODEX_VERSION,
        openapi_version="3.1.0",
        plugins=[plugin],
        info={"description": ABOUT},
        security=[{"key": []}],
    )
    assert plugin.converter is not None
    for describe in (any_of, all_of, null):
        plugin.converter.add_attribute_function(describe)  # type: ignore[no-untyped-call]
    spec.components.security_scheme("key", {"type": "http", "scheme": "bearer"})
    spec.components.schema("Problem", PROBLEM)
    for name, method in sorted(TABLE.items()):
        spec.path(f"/v2/{name}", operations={"post": _operation(name, method)})
    for name in sorted(EMPTY):
        spec.path(f"/v2/{name}", operations={"post": _empty_operation(name)})
    for path, operations in ROUTES.items():
        spec.path(path, operations=dict(operations))
    for key, name in plugin.converter.refs.items():
        about = sections(key[0].__doc__)[""]
        if about:
            spec.components.schemas[name]["description"] = " ".join(about.split())
    made: dict[str, Any] = spec.to_dict()
    return made


def _operation(name: str, method: Method) -> Mapping[str, object]:
    params = sections(method.Params.__doc__)
    return _described(
        name,
        first_line(method.__doc__),
        params[""],
        {"schema": schema_of(method.Params, ParamsSchema), "example": method.EXAMPLE.params},
        {"schema": schema_of(method.Result), "example": method.EXAMPLE.result},
        params.get("Errors", ""),
    )


def _empty_operation(name: str) -> Mapping[str, object]:
    anything = {"schema": {"type": "object"}, "example": {}}
    details = "The result is always the same."
    return _described(
        name, EMPTY_REASONS[name], details, anything, {"schema": {"type": "object"}, "example": EMPTY[name]}, ""
    )


def _described(
    name: str, about: str, details: str, body: Mapping[str, object], result: Mapping[str, object], errors: str
) -> Mapping[str, object]:
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    refused = " ".join(errors.split()) or "A problem."
    return {
        "operationId": name,
        "summary": about,
        "description": details,
        "requestBody": {"content": {"application/json": body}},
        "responses": {
            "200": {"description": "The result.", "content": {"application/json": result}},
            "default": {"description": refused, "content": {"application/problem+json": problem}},
        },
    }


def _schema_name(schema: Any) -> str:
    """Return a schema's name: `api.methods.thread_fork.Params` → ThreadForkParams, others keep their own."""
    kind = schema if isinstance(schema, type) else type(schema)
    package, _, module = kind.__module__.rpartition(".")
    if package != "api.methods" or kind.__name__ not in ("Params", "Result"):
        return kind.__name__.removesuffix("Schema")
    return "".join(word.capitalize() for word in module.split("_")) + kind.__name__


# -- attribute functions of apispec, for the fields of api.requests.schemas


def any_of(self: OpenAPIConverter, field: fields.Field[Any], **_: Any) -> Mapping[str, object]:
    """Describe a value of one of several shapes. Shapes that differ by `type` get a discriminator."""
    if not isinstance(field, AnyOf):
        return {}
    options = [self.field2property(option) for option in field.options]
    if field.allow_none:
        options.append({"type": "null"})
    types = [_types(option) for option in field.options]
    if not all(types) or field.allow_none:
        return {"anyOf": options}
    mapping = {name: option["$ref"] for names, option in zip(types, options, strict=True) for name in names}
    return {"oneOf": options, "discriminator": {"propertyName": "type", "mapping": mapping}}


def _types(option: fields.Field[Any]) -> list[str]:
    """Return the values of `type` that identify a shape."""
    member = option.schema.fields.get("type") if isinstance(option, fields.Nested) else None
    validators = member.validators if member is not None else []
    return [name for one in validators if isinstance(one, validate.OneOf) for name in one.choices]


def all_of(self: OpenAPIConverter, field: fields.Field[Any], ret: dict[str, Any]) -> Mapping[str, object]:
    """Describe a JSON object with the members of several shapes."""
    if not isinstance(field, AllOf):
        return {}
    ret.pop("type"), ret.pop("additionalProperties")  # the shapes say both
    parts = [self.field2property(part) for part in field.parts]
    made = parts[0] if len(parts) == 1 else {"allOf": parts}
    return {"anyOf": [made, {"type": "null"}]} if field.allow_none else made


def null(self: OpenAPIConverter, field: fields.Field[Any], **_: Any) -> Mapping[str, object]:
    """Describe a member that is always null."""
    return {"type": "null"} if isinstance(field, Null) else {}


if __name__ == "__main__":
    print(json.dumps(document(), indent=1, sort_keys=True))
