"""Names and schemas of tools, as models get them."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp.shared.auth import OAuthToken

from shared.clock import now_ms
from tests.support.strange import one_member_changed
from workers.mcp import oauth, offered_tools, results
from workers.mcp.offered_tools import clean_schema, unique_names


def parameters_of(schema: object) -> Any:
    return offered_tools._function("tool", {"inputSchema": schema})["parameters"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a-b", "odd.name-x", "Case"], ["mcp__a_b", "mcp__odd_name_x", "mcp__Case"]),
        (["a-b", "a.b"], ["mcp__a_b", "mcp__a_b_45eb5a37"]),
        (["x" * 60], ["mcp__xxxxxxxxxxxxxxxxx_11ee3912"]),
    ],
)
def test_names_are_short_plain_and_different(names: list[str], expected: list[str]) -> None:
    found = unique_names(names, "mcp__", 31)

    assert [len(name) <= 31 for name in found.values()] == [True] * len(names)
    assert len(set(found.values())) == len(names)
    assert [name.rpartition("_")[0] for name in found.values()] == [name.rpartition("_")[0] for name in expected]
    assert unique_names(names, "mcp__", 31) == found


def test_a_schema_that_nests_without_end_is_cut() -> None:
    schema: dict[str, object] = {"type": "object"}
    for _ in range(200):
        schema = {"type": "array", "items": schema}

    assert str(clean_schema(schema)).count("array") < 40
    assert clean_schema("text") == {}


def test_a_schema_with_a_strange_member_is_offered_as_a_valid_one() -> None:
    schema = {
        "type": "object",
        "description": "d",
        "properties": {
            "a": {"type": ["string", "null"], "enum": ["x"], "const": "x"},
            "b": {"type": "array", "items": {"type": "integer"}},
            "c": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/n"}]},
        },
        "required": ["a"],
        "additionalProperties": False,
        "$defs": {"n": {"type": "number"}},
    }
    assert parameters_of(schema) == schema
    for changed in one_member_changed({"inputSchema": schema}):
        offered = parameters_of(changed.get("inputSchema"))

        Draft202012Validator.check_schema(offered)
        assert (offered["type"], type(offered["properties"])) == ("object", dict), changed


def test_a_stored_result_is_bounded_whatever_the_types_of_its_parts_are() -> None:
    large = [{"type": "x" * 300_000, "n": number} for number in range(20)]

    assert len(str(results.stored({"content": large}))) < results.MAX_STORED_BYTES
    assert len(str(results.output_of({"content": [{"type": "audio", "mimeType": "y" * 300_000}]}, 1))) < 1000


def test_a_token_that_lasts_for_ever_is_one_of_years() -> None:
    for seconds in (10**400, 10**12, 3600, -5):
        found = oauth.expires_at_ms(OAuthToken(access_token="t", expires_in=seconds))

        assert found is not None
        assert 0 <= found - now_ms() + 1000 <= 11 * 366 * 24 * 3600 * 1000


def test_a_stored_result_is_bounded_whatever_it_is_made_of() -> None:
    parts = [{"type": "text", "text": "x" * 10_000}] * 500 + [{"type": "audio", "data": "y" * 3_000_000}]
    result = {"content": parts, "structuredContent": {"z": "z" * 3_000_000}, "_meta": {"m": 1}}

    kept = results.stored(result)

    assert len(str(kept)) < 2 * results.MAX_STORED_BYTES
    assert kept["structuredContent"] is None
    assert results.stored({"content": "no list"})["content"] == []
