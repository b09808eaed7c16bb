"""GET /openapi.json: the method table as an OpenAPI document."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import make_app
from api.documentation.routes import ROUTES
from api.methods import TABLE
from api.methods.without_effect import EMPTY
from api.requests.params import load_params
from api.requests.schemas import SECTIONS, sections
from tests.builders import Backend
from tests.support.contract import Contract
from tests.support.openapi import result_violations

# JSON objects that the server passes on unread, or whose keys are not its own.
OPAQUE = {
    ("ConfigReadResult", "config"),
    ("DynamicToolCall", "arguments"),
    ("DynamicToolCall", "contentItems"),
    ("Layer", "config"),
    ("McpServerResourceReadResult", "contents"),
    ("McpServerStatusListResult", "data"),
    ("McpServerToolCallResult", "_meta"),
    ("McpServerToolCallResult", "content"),
    ("McpServerToolCallResult", "structuredContent"),
    ("McpToolCall", "arguments"),
    ("McpToolCall", "result"),
    # What MCP servers answer.
    ("McpServerResourceReadResult", "contents"),
    ("McpServerStatusListResult", "data"),
    ("McpServerToolCallResult", "_meta"),
    ("McpServerToolCallResult", "content"),
    ("McpServerToolCallResult", "structuredContent"),
    ("TextInput", "text_elements"),
    ("TurnError", "codexErrorInfo"),
    ("WaitingRequest", "params"),
}


@pytest.fixture
def document(backend: Backend) -> dict[str, Any]:
    answer = make_app(backend.services).test_client().get("/openapi.json")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.get_json()
    return body


def test_every_method_that_answers_and_every_other_route_has_a_path(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {f"/v2/{name}" for name in [*TABLE, *EMPTY]} | ROUTES.keys()


def test_params_are_described_with_the_names_of_the_wire(document: dict[str, Any]) -> None:
    body = document["paths"]["/v2/turn/start"]["post"]["requestBody"]["content"]["application/json"]
    schema = document["components"]["schemas"][body["schema"]["$ref"].rsplit("/", 1)[1]]

    assert {"threadId", "input", "clientUserMessageId"} <= schema["properties"].keys()
    assert sorted(schema["required"]) == ["input", "threadId"]


def test_every_reference_leads_to_a_schema(document: dict[str, Any]) -> None:
    names = set(re.findall(r"#/components/schemas/(\w+)", str(document)))

    assert names <= document["components"]["schemas"].keys()
    assert "Problem" in names


def test_a_result_names_its_nested_objects_and_enumerations(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert schemas["TurnStartResult"]["properties"]["turn"] == {
        "$ref": "#/components/schemas/TurnObject",
        "description": "the new turn, or the running one that took the input; its progress arrives as notifications",
    }
    assert schemas["TurnObject"]["properties"]["status"]["enum"] == ["inProgress", "completed", "interrupted", "failed"]
    assert "userMessage" in str(schemas["TurnObject"]["properties"]["items"])


def test_only_opaque_json_has_no_described_shape_in_a_result(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    reached, names = set[str](), {name for name in schemas if name.endswith("Result")}
    while names - reached:
        name = (names - reached).pop()
        reached.add(name)
        names |= set(re.findall(r"#/components/schemas/(\w+)", str(schemas[name])))

    assert {(name, member) for name in reached for member in _opaque_members(schemas[name])} == OPAQUE


def _opaque_members(schema: dict[str, Any]) -> list[str]:
    return [name for name, member in schema.get("properties", {}).items() if _is_opaque(member)]


def _is_opaque(schema: dict[str, Any]) -> bool:
    if any(key in schema for key in ("anyOf", "oneOf", "allOf")):
        return any(_is_opaque(one) for key in ("anyOf", "oneOf", "allOf") for one in schema.get(key, []))
    types = schema.get("type")
    if types is None:
        return "$ref" not in schema
    if "array" in types:
        return _is_opaque(schema["items"])
    return "object" in types and _is_opaque(schema.get("additionalProperties") or {})


@pytest.mark.parametrize("method", sorted(TABLE))
def test_a_docstring_describes_only_members_that_exist(method: str) -> None:
    for shape in (TABLE[method].Params, TABLE[method].Result):
        members = {field.name for field in dataclasses.fields(shape)}
        described = {name for label in sections(shape.__doc__) if label for name in label.split(", ")}

        assert described - set(SECTIONS) <= members


@pytest.mark.parametrize("method", sorted(TABLE))
def test_the_example_of_params_is_valid(contract: Contract | None, method: str) -> None:
    example = TABLE[method].EXAMPLE.params

    load_params(TABLE[method].Params, example)
    if contract is not None and method in contract.methods:
        null_params = contract.methods[method]["properties"]["params"].get("type") == "null"
        assert contract.request_violations(method, None if null_params else example) == []


@pytest.mark.parametrize("method", sorted(TABLE))
def test_the_example_of_a_result_is_valid(contract: Contract | None, method: str) -> None:
    example = TABLE[method].EXAMPLE.result

    assert result_violations(method, example) == []
    if contract is not None and method in contract.methods:
        assert contract.result_violations(method, example) == []


def test_a_foreign_origin_cannot_read_the_document(backend: Backend) -> None:
    browser: FlaskClient = make_app(backend.services).test_client()

    assert browser.get("/openapi.json", headers={"Origin": "http://evil.example"}).status_code == 403
