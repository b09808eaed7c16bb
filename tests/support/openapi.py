"""Check results against the OpenAPI document, more strictly than JSON Schema does: no member may be undescribed."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import cache
from typing import Any

import jsonschema
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from api.documentation.openapi import document
from api.methods import TABLE
from tests.support.contract import Recording

URI = "urn:openapi"


def result_violations(method: str, result: object) -> list[str]:
    """Return how the result of a method differs from its description, each deviation once."""
    errors = _validator(method).iter_errors(result)
    return list(dict.fromkeys(f"result of {method}: {error.json_path}: {error.message[:300]}" for error in errors))


@cache
def _validator(method: str) -> Any:
    response = document()["paths"][f"/v2/{method}"]["post"]["responses"]["200"]
    schema = response["content"]["application/json"]["schema"]
    if "$ref" in schema:
        schema = {"$ref": URI + schema["$ref"]}
    return jsonschema.Draft202012Validator(schema, registry=_registry())


@cache
def _registry() -> Any:
    return Registry().with_resource(URI, DRAFT202012.create_resource(_strict()))


def _strict() -> dict[str, Any]:
    """Return the document with closed objects. The parts of an `allOf` are closed together."""
    made = copy.deepcopy(document())
    parts: set[str] = set()
    _close_all_of(made["components"]["schemas"], parts)
    for name, schema in made["components"]["schemas"].items():
        if name not in parts and "properties" in schema:
            schema["additionalProperties"] = False
    return made


def _close_all_of(schema: Any, parts: set[str]) -> None:
    if isinstance(schema, list):
        for inner in schema:
            _close_all_of(inner, parts)
    elif isinstance(schema, dict):
        for inner in list(schema.values()):
            _close_all_of(inner, parts)
        if "allOf" in schema:
            schema["unevaluatedProperties"] = False
            parts.update(_references(schema["allOf"]))


def _references(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(_references, schema))
    if not isinstance(schema, dict):
        return set()
    found = _references([inner for name, inner in schema.items() if name != "mapping"])
    return found | ({schema["$ref"].rsplit("/", 1)[1]} if "$ref" in schema else set())


def violations(recordings: Iterable[Recording]) -> list[str]:
    """Return how the results that test clients received differ from their descriptions."""
    found = []
    for recording in recordings:
        for frame in list(recording.received):
            method = recording.sent.get(frame.get("id"))
            if method in TABLE and "result" in frame:
                found += result_violations(method, frame["result"])
    return list(dict.fromkeys(found))
