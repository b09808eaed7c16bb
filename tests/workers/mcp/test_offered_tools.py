"""Names and schemas of tools, as models get them."""

from __future__ import annotations

import pytest

from workers.mcp import results
from workers.mcp.offered_tools import clean_schema, unique_names


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


def test_a_stored_result_is_bounded_whatever_it_is_made_of() -> None:
    parts = [{"type": "text", "text": "x" * 10_000}] * 500 + [{"type": "audio", "data": "y" * 3_000_000}]
    result = {"content": parts, "structuredContent": {"z": "z" * 3_000_000}, "_meta": {"m": 1}}

    kept = results.stored(result)

    assert len(str(kept)) < 2 * results.MAX_STORED_BYTES
    assert kept["structuredContent"] is None
    assert results.stored({"content": "no list"})["content"] == []
