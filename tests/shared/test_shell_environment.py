"""The policy of the variables of commands: what it changes."""

from __future__ import annotations

from typing import Any

import pytest

from shared.shell_environment import is_settable, merged, variables

INHERITED = ("PATH", "HOME")
FIXED = ("TERM",)
CASES: list[tuple[dict[str, Any], dict[str, str | None]]] = [
    ({}, {}),
    ({"inherit": "all"}, {}),
    ({"inherit": "none"}, {"PATH": None, "HOME": None}),
    ({"inherit": "none", "set": {"PATH": "/bin"}}, {"PATH": "/bin", "HOME": None}),
    ({"exclude": ["h?me", "P"]}, {"HOME": None}),
    ({"exclude": ["*"], "set": {"A": "1"}}, {"PATH": None, "HOME": None, "A": "1"}),
    ({"exclude": ["[PH]*"]}, {}),
    ({"include_only": ["pa*", "A"], "set": {"A": "1", "B": "2"}}, {"HOME": None, "A": "1"}),
    ({"set": {"TERM": "xterm", "A_KEY": ""}, "ignore_default_excludes": False}, {"A_KEY": ""}),
]


@pytest.mark.parametrize(("policy", "changed"), CASES)
def test_changes_of_a_policy(policy: Any, changed: dict[str, str | None]) -> None:
    assert variables(policy, INHERITED, FIXED) == changed


def test_inherited_names_that_look_like_secrets_are_left_out_on_request() -> None:
    names = ("MY_KEY", "a_secret", "TOKENS", "OTHER")

    assert variables({}, names, ()) == {}
    assert variables({"ignore_default_excludes": False}, names, ()) == dict.fromkeys(names[:3])


def test_variables_of_both_policies_are_set_and_other_keys_replaced() -> None:
    both = merged({"set": {"A": "1", "B": "1"}, "exclude": ["x"]}, {"set": {"B": "2"}, "exclude": ["y"]})

    assert both == {"set": {"A": "1", "B": "2"}, "exclude": ["y"]}


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A\n", "UID", "PPID", "ä"])
def test_a_name_that_a_shell_cannot_set_is_refused(name: str) -> None:
    assert not is_settable(name)
    assert is_settable("_A1")


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    assert variables({"exclude": ["*A" * 100]}, ["A" * 90 + "B"], ()) == {}
