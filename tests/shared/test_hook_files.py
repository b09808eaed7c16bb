"""Hook files: which hooks they hold, what is left out of them, and which hooks are for what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.config import load
from shared.errors import ConfigError
from shared.hook_files import MAX_HOOKS, HookFileError, is_enabled, matches, parse_json, read_events, trust_status
from shared.protocol.hooks import EVENTS, Hook

PATH = "/repo/.codex/hooks.json"


def file(event: str = "PreToolUse", matcher: str | None = None, **handler: Any) -> dict[str, Any]:
    full = {"type": "command", "command": "check", **handler}
    return {event: [{**({"matcher": matcher} if matcher is not None else {}), "hooks": [full]}]}


def one(event: str = "PreToolUse", matcher: str | None = None, **handler: Any) -> Hook:
    (hook,) = read_events(file(event, matcher, **handler), PATH, "project").hooks
    return hook


def test_hooks_are_listed_by_event_with_keys_of_their_place() -> None:
    events = {**file("Stop"), **{"PreToolUse": [{"hooks": []}, {"hooks": [{"type": "command", "command": "a"}] * 2}]}}

    found = parse_json(json.dumps({"hooks": events}).encode(), PATH, "project")

    assert [hook["key"].removeprefix(PATH) for hook in found.hooks] == [
        ":pre_tool_use:1:0",
        ":pre_tool_use:1:1",
        ":stop:0:0",
    ]
    assert [hook["timeoutSec"] for hook in found.hooks] == [600, 600, 600]
    assert found.warnings == []


@pytest.mark.parametrize(
    ("handler", "warning"),
    [
        ({"type": "prompt"}, "skipping prompt hook"),
        ({"async": True}, "skipping async hook"),
        ({"command": " "}, "skipping empty hook command"),
        ({"command": "x" * 9000}, "skipping hook command with NUL or more than 8000"),
        ({"command": "a\0b"}, "skipping hook command with NUL"),
    ],
)
def test_a_hook_that_cannot_run_is_left_out_with_a_warning(handler: dict[str, Any], warning: str) -> None:
    found = read_events(file(**handler), PATH, "project")

    assert found.hooks == []
    assert warning in found.warnings[0]


@pytest.mark.parametrize("matcher", ["(", "x" * 501])
def test_a_matcher_that_is_no_pattern_leaves_out_its_hook(matcher: str) -> None:
    found = read_events(file(matcher=matcher), PATH, "project")

    assert (found.hooks, "matcher" in found.warnings[0]) == ([], True)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b'{"hooks": []}',
        b'{"hooks": {"Stop": {}}}',
        b'{"hooks": {"Stop": [1]}}',
        b'{"hooks": {"Stop": [{"matcher": 1}]}}',
        b'{"hooks": {"Stop": [{"hooks": [1]}]}}',
        b'{"hooks": {"Stop": [{"hooks": [{"type": "command", "command": 1}]}]}}',
        b'{"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "a", "timeout": true}]}]}}',
        json.dumps({"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "a"}] * (MAX_HOOKS + 1)}]}}).encode(),
    ],
)
def test_a_file_of_another_form_is_an_error_that_names_it(data: bytes) -> None:
    with pytest.raises(HookFileError, match=f"^failed to parse hooks config {PATH}"):
        parse_json(data, PATH, "project")


@pytest.mark.parametrize("timeout", [float("inf"), float("nan")])
def test_a_time_limit_without_end_is_an_error(timeout: float) -> None:
    events = {"Stop": [{"hooks": [{"type": "command", "command": "a", "timeout": timeout}]}]}

    with pytest.raises(HookFileError, match="timeout as a number of seconds"):
        read_events(events, PATH, "project")


def test_unknown_events_and_too_long_timeouts_are_said() -> None:
    found = read_events({**file("SessionEnd", timeout=10), **file("Nope"), **file("Stop", timeout=9000)}, PATH, "user")

    assert [hook["timeoutSec"] for hook in found.hooks] == [3, 600]
    assert found.warnings == [
        f"unknown hook event Nope in {PATH}",
        f"clamping SessionEnd hook timeout to 3s in {PATH}",
        f"clamping hook timeout to 600s in {PATH}",
    ]


@pytest.mark.parametrize(
    ("matcher", "names", "expected"),
    [
        (None, ("Bash",), True),
        ("", ("Bash",), True),
        ("*", ("Bash",), True),
        ("Bash", ("Bash",), True),
        ("Bas", ("Bash",), False),
        ("Read|Bash", ("Bash",), True),
        ("^B.*h$", ("Bash",), True),
        ("mcp__.*__write", ("mcp__notes__write_page",), True),
        ("Edit", ("apply_patch", "Write", "Edit"), True),
        ("Edit", ("Bash",), False),
    ],
)
def test_a_matcher_is_a_list_of_names_or_a_pattern(matcher: str | None, names: tuple[str, ...], expected: bool) -> None:
    assert matches(one(matcher=matcher), *names) is expected


def test_events_without_names_have_no_matcher() -> None:
    assert [one(event, matcher="a")["matcher"] for event in ("Stop", "UserPromptSubmit", "PreToolUse")] == [
        None,
        None,
        "a",
    ]


def test_trust_holds_for_a_hook_as_it_was() -> None:
    hook = one(timeout=10)
    state = {hook["key"]: {"trusted_hash": hook["currentHash"]}}

    assert trust_status(hook, {}, managed=False) == "untrusted"
    assert trust_status(hook, state, managed=False) == "trusted"
    for changed in (one(timeout=11), one(command="other", timeout=10), one(matcher="a", timeout=10)):
        assert trust_status(changed, state, managed=False) == "modified"
    assert trust_status(hook, {}, managed=True) == "managed"
    assert trust_status(hook, {hook["key"]: "nonsense"}, managed=False) == "untrusted"


def test_a_user_turns_hooks_off_but_not_managed_ones() -> None:
    hook = one()
    off = {hook["key"]: {"enabled": False}}

    assert [is_enabled(hook, off, managed=managed) for managed in (False, True)] == [False, True]
    assert is_enabled(hook, {}, managed=False)


def test_the_operators_hooks_are_those_of_both_files(tmp_path: Any) -> None:
    (tmp_path / "hooks.json").write_text(json.dumps({"hooks": file("Stop")}))
    (tmp_path / "config.toml").write_text(
        '[hooks]\nrequired = true\n[[hooks.PreToolUse]]\nmatcher = "Bash"\n'
        '[[hooks.PreToolUse.hooks]]\ntype = "command"\ncommand = "check"\n'
    )

    found = load(tmp_path, {}).hooks

    assert found.required
    assert [hook["key"] for hook in found.found.hooks] == [
        "/threadhouse/hooks.json:stop:0:0",
        "/threadhouse/config.toml:pre_tool_use:0:0",
    ]
    (tmp_path / "hooks.json").write_text("{")
    with pytest.raises(ConfigError, match=f"failed to parse hooks config {tmp_path}/hooks.json"):
        load(tmp_path, {})


def test_every_event_can_be_configured() -> None:
    assert [one(name)["eventName"] for name in EVENTS] == list(EVENTS.values())
