"""What a hook's exit code and output mean, event by event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.protocol.hooks import HookEvent
from workers.hooks.answers import HookAnswer, read_answer


def said(event: HookEvent, output: object = "", exit_code: int = 0, stderr: str = "") -> HookAnswer:
    return read_answer(event, exit_code, output if isinstance(output, str) else json.dumps(output), stderr)


def errors(answer: HookAnswer) -> list[str]:
    assert answer.status == "failed"
    return [entry["text"] for entry in answer.entries if entry["kind"] == "error"]


def specific(event: str, **members: Any) -> dict[str, Any]:
    return {"hookSpecificOutput": {"hookEventName": event, **members}}


def test_silence_lets_everything_pass() -> None:
    events: tuple[HookEvent, ...] = ("preToolUse", "permissionRequest", "postToolUse", "stop", "userPromptSubmit")
    for event in events:
        assert said(event) == said(event, " \n") == said(event, {}) == HookAnswer()


@pytest.mark.parametrize("event", ["preToolUse", "postToolUse", "userPromptSubmit", "stop"])
def test_exit_code_2_refuses_with_what_is_on_standard_error(event: HookEvent) -> None:
    answer = said(event, "ignored", 2, " because \n")

    assert (answer.status, answer.reason) == ("blocked", "because")
    assert answer.entries == [{"kind": "feedback", "text": "because"}]
    assert "did not write a reason" in errors(said(event, "", 2))[0]


def test_exit_code_2_denies_a_permission_and_fails_where_nothing_can_be_refused() -> None:
    assert said("permissionRequest", "", 2, "no").behavior == "deny"
    assert errors(said("sessionStart", "", 2, "no")) == ["hook exited with code 2"]


def test_another_exit_code_is_a_failure_whatever_the_hook_wrote() -> None:
    assert errors(said("preToolUse", {"decision": "block", "reason": "x"}, 1)) == ["hook exited with code 1"]


def test_text_is_context_where_a_prompt_begins_and_nothing_elsewhere() -> None:
    assert (said("userPromptSubmit", "more\n").context, said("sessionStart", "more").context) == ("more", "more")
    assert said("preToolUse", "more") == said("postToolUse", "more") == HookAnswer()
    assert errors(said("stop", "more")) == ["hook returned invalid Stop JSON output"]


@pytest.mark.parametrize(
    ("event", "output", "error"),
    [
        ("preToolUse", "{nonsense", "invalid PreToolUse JSON output"),
        ("stop", "[]", "invalid Stop JSON output"),
        ("stop", {"decision": 1}, "decision has a wrong type"),
        ("stop", {"decision": "approve"}, "unsupported decision:approve"),
        ("stop", {"decision": "block"}, "refused without a reason"),
        ("sessionStart", {"decision": "block", "reason": "x"}, "unsupported decision:block"),
        ("preToolUse", {"continue": False}, "unsupported continue:false"),
        ("preToolUse", {"continue": "no"}, "continue has a wrong type"),
        ("preToolUse", specific("Stop"), "output of another event than PreToolUse"),
        ("preToolUse", specific("PreToolUse", permissionDecision="ask"), "unsupported permissionDecision:ask"),
        ("preToolUse", specific("PreToolUse", permissionDecision="deny"), "without a permissionDecisionReason"),
        ("preToolUse", specific("PreToolUse", updatedInput={}), "without permissionDecision:allow"),
        ("preToolUse", specific("PreToolUse", permissionDecision="allow", updatedInput=[1]), "has a wrong type"),
        ("permissionRequest", specific("PermissionRequest", decision={"behavior": "ask"}), "unsupported behavior:ask"),
    ],
)
def test_what_is_not_in_the_form_of_the_event_is_a_failure(event: HookEvent, output: object, error: str) -> None:
    assert error in errors(said(event, output))[0]


def test_a_call_is_refused_changed_or_let_pass() -> None:
    deny = said("preToolUse", specific("PreToolUse", permissionDecision="deny", permissionDecisionReason="no"))
    old = said("preToolUse", {"decision": "block", "reason": "no"})
    change = said("preToolUse", specific("PreToolUse", permissionDecision="allow", updatedInput={"command": "ls"}))
    noted = said("preToolUse", specific("PreToolUse", additionalContext="careful"))

    assert (deny.status, deny.reason) == (old.status, old.reason) == ("blocked", "no")
    assert (change.status, change.arguments) == ("completed", {"command": "ls"})
    assert (noted.status, noted.context) == ("completed", "careful")


def test_a_permission_is_allowed_denied_or_left_to_a_person() -> None:
    def behavior(decision: object) -> str | None:
        return said("permissionRequest", specific("PermissionRequest", decision=decision)).behavior

    assert [behavior(one) for one in ({"behavior": "allow"}, {"behavior": "deny"}, None)] == ["allow", "deny", None]


def test_a_hook_can_stop_the_turn_and_speak_to_the_user() -> None:
    answer = said("userPromptSubmit", {"continue": False, "stopReason": "enough", "systemMessage": "hello"})

    assert (answer.status, answer.stops, answer.reason) == ("stopped", True, "enough")
    assert answer.entries == [{"kind": "warning", "text": "hello"}, {"kind": "stop", "text": "enough"}]


def test_long_texts_lose_their_middle() -> None:
    answer = said("userPromptSubmit", "x" * 200_000)

    assert answer.context is not None
    assert len(answer.context) < 50_000
