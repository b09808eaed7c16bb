"""A user's own configuration: keys, nested tables, limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.requests.user_config import FILE, MAX_VALUE_CHARACTERS, Edit, apply_edits, check_file, parse_version
from shared.errors import ConfigWriteRefused, InvalidParams
from shared.store.users import LOCAL_USER
from tests.builders import make_config


def edited(values: Any, *edits: tuple[str, Any, str]) -> Any:
    return apply_edits(make_config(Path("/")), LOCAL_USER, values, [Edit.of(*edit) for edit in edits])


def test_edits_are_applied_in_their_order() -> None:
    assert edited({}, ("model", "a", "replace"), ("model", "b", "replace")) == {"model": "b"}
    assert edited({"model": "a"}, ("model", None, "replace")) == {}


def test_a_dotted_key_is_written_inside_its_table_and_an_empty_table_is_removed() -> None:
    values = edited({}, ("tools.web_search.context_size", "low", "replace"))

    assert values == {"tools": {"web_search": {"context_size": "low"}}}
    assert edited(values, ("tools.web_search.context_size", None, "replace")) == {}


def test_upsert_merges_tables_and_replace_does_not() -> None:
    old = {"tools": {"view_image": True, "web_search": {"context_size": "low"}}}
    new = {"web_search": {"allowed_domains": ["a"], "location": None}}

    assert edited(old, ("tools", new, "upsert"))["tools"] == {
        "view_image": True,
        "web_search": {"context_size": "low", "allowed_domains": ["a"]},
    }
    assert edited(old, ("tools", new, "replace"))["tools"] == {"web_search": {"allowed_domains": ["a"]}}


def test_the_trust_in_a_folder_is_kept_under_its_path() -> None:
    values = edited({}, ('projects."/work/dir.with.dot".trust_level', "trusted", "replace"))

    assert values == {"projects": {"/work/dir.with.dot": {"trust_level": "trusted"}}}
    both = edited(values, ("projects", {"/p/x.y": {"trust_level": "untrusted"}}, "upsert"))
    assert set(both["projects"]) == {"/work/dir.with.dot", "/p/x.y"}
    assert edited(both, ('projects."/p/x.y"', None, "replace")) == values


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ('projects."/a".trust_level', "bogus", "unknown variant `bogus`, expected one of `trusted`, `untrusted`"),
        ('projects."/a".other', 1, "missing field `trust_level`"),
        ('projects."/a', "x", "unterminated quoted segment"),
        ("projects", [], "invalid type: sequence, expected a map"),
    ],
)
def test_other_words_about_a_folder_are_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidParams, match=message):
        edited({}, (key, value, "replace"))


@pytest.mark.parametrize("key", ["notify", "model.name", "server", "tools.a.b.c.d.e.f"])
def test_keys_that_users_may_not_set_are_refused(key: str) -> None:
    with pytest.raises(InvalidParams, match="this server does not let users set it; they may set "):
        Edit.of(key, 1, "replace")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_reasoning_effort", "most", "unknown variant `most`"),
        ("tools", {"unknown": 1}, "Unknown field"),
        ("model", "x" * (MAX_VALUE_CHARACTERS + 1), "more than 20000 characters"),
    ],
)
def test_values_are_checked(key: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidParams, match=message):
        edited({}, (key, value, "replace"))


def test_versions_are_numbers() -> None:
    assert parse_version(None) is None
    assert parse_version("12") == 12
    for expected in ("x", "-1"):
        with pytest.raises(InvalidParams):
            parse_version(expected)


def test_only_the_users_file_is_written() -> None:
    check_file(None)
    check_file(FILE)
    with pytest.raises(ConfigWriteRefused):
        check_file("/etc/config.toml")
