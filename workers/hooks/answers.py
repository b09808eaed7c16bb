"""What a hook that has ended says: its exit code, and JSON or text on standard output (BEHAVIOUR-171 9).

Exit code 0: the output counts. 2: the hook refuses, and standard error says why. Any other: the hook has failed, and
nothing that it wrote counts. Knows nothing of turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.protocol import frames
from shared.protocol.hooks import NAMES, EntryKind, HookEntry, HookEvent, RunStatus
from workers.sandbox.output import shorten

BLOCKED_CODE = 2
MAX_TEXT_TOKENS = 10_000  # of one text that the model or a client gets; longer ones lose their middle
BLOCKING = frozenset({"preToolUse", "postToolUse", "userPromptSubmit", "stop"})  # events whose hooks may refuse
CONTINUING = frozenset({"preToolUse", "permissionRequest"})  # events whose hooks cannot end the turn
TEXT_IS_CONTEXT = frozenset({"sessionStart", "userPromptSubmit"})
WITH_CONTEXT = frozenset({"sessionStart", "userPromptSubmit", "preToolUse", "postToolUse"})


class _Invalid(Exception):
    """What a hook wrote is not what it may write. The message is for the user."""


@dataclass(slots=True)
class HookAnswer:
    """What one run of a hook means.

    reason:    why it refuses, or why a Stop hook lets the turn go on
    context:   what the model is to read
    stops:     the turn, or what is about to happen, ends here
    arguments: the changed input of a tool
    behavior:  "allow" or "deny", of a permission
    """

    status: RunStatus = "completed"
    entries: list[HookEntry] = field(default_factory=list)
    reason: str | None = None
    context: str | None = None
    stops: bool = False
    arguments: Mapping[str, object] | None = None
    behavior: str | None = None

    def add(self, kind: EntryKind, text: str) -> None:
        self.entries.append({"kind": kind, "text": text})

    def block(self, reason: str) -> None:
        self.status, self.reason = "blocked", reason
        self.add("feedback", reason)


def failed(reason: str) -> HookAnswer:
    """Return the answer of a hook that could not decide. reason: for the user."""
    answer = HookAnswer("failed")
    answer.add("error", reason)
    return answer


def read_answer(event: HookEvent, exit_code: int, stdout: str, stderr: str) -> HookAnswer:
    """Return what a hook says that has ended by itself."""
    try:
        if exit_code == BLOCKED_CODE:
            return _refusal(event, stderr.strip())
        if exit_code != 0:
            return failed(f"hook exited with code {exit_code}")
        text = stdout.strip()
        if text.startswith(("{", "[")):
            return _from_json(event, text)
        answer = HookAnswer()
        if text and event in TEXT_IS_CONTEXT:
            _add_context(answer, text)
        elif text and event == "stop":
            raise _Invalid("hook returned invalid Stop JSON output")
        return answer
    except _Invalid as error:
        return failed(str(error))


def _refusal(event: HookEvent, reason: str) -> HookAnswer:
    if event not in BLOCKING and event != "permissionRequest":
        return failed(f"hook exited with code {BLOCKED_CODE}")
    if not reason:
        raise _Invalid(f"{NAMES[event]} hook exited with code {BLOCKED_CODE} but did not write a reason to stderr")
    answer = HookAnswer(behavior="deny" if event == "permissionRequest" else None)
    answer.block(_bounded(reason))
    return answer


def _from_json(event: HookEvent, text: str) -> HookAnswer:
    try:
        values = frames.decode(text.encode(errors="replace"))
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise _Invalid(f"hook returned invalid {NAMES[event]} JSON output")
    members = _Members(event, values)
    answer = HookAnswer()
    if message := members.text("systemMessage"):
        answer.add("warning", message)
    specific = members.table("hookSpecificOutput")
    if specific.text("hookEventName") not in (None, NAMES[event]):
        raise _Invalid(f"hook returned output of another event than {NAMES[event]}")
    if (context := specific.text("additionalContext")) and event in WITH_CONTEXT:
        _add_context(answer, context)
    if members.flag("continue") is False:
        _stop(event, answer, members.text("stopReason"))
    elif event == "preToolUse":
        _before_call(answer, members, specific)
    elif event == "permissionRequest":
        _permission(answer, specific.table("decision"))
    elif (decision := members.text("decision")) is not None:
        if decision != "block" or event not in BLOCKING:
            raise _Invalid(f"{NAMES[event]} hook returned unsupported decision:{decision[:80]}")
        answer.block(_required(members.text("reason"), event, "reason"))
    return answer


def _stop(event: HookEvent, answer: HookAnswer, reason: str | None) -> None:
    if event in CONTINUING:
        raise _Invalid(f"{NAMES[event]} hook returned unsupported continue:false")
    answer.status, answer.stops = "stopped", True
    answer.reason = reason or f"{NAMES[event]} hook stopped execution"
    answer.add("stop", answer.reason)


def _before_call(answer: HookAnswer, members: _Members, specific: _Members) -> None:
    decision, reason = specific.text("permissionDecision"), specific.text("permissionDecisionReason")
    if decision is None and members.text("decision") == "block":  # the form of older hooks
        decision, reason = "deny", members.text("reason")
    if decision == "deny":
        answer.block(_required(reason, "preToolUse", "permissionDecisionReason"))
    elif decision not in (None, "allow"):
        raise _Invalid(f"PreToolUse hook returned unsupported permissionDecision:{decision[:80]}")
    elif specific.has("updatedInput"):
        if decision != "allow":
            raise _Invalid("PreToolUse hook returned updatedInput without permissionDecision:allow")
        answer.arguments = specific.table("updatedInput").values


def _permission(answer: HookAnswer, decision: _Members) -> None:
    behavior = decision.text("behavior")
    if behavior not in (None, "allow", "deny"):
        raise _Invalid(f"PermissionRequest hook returned unsupported behavior:{behavior[:80]}")
    answer.behavior = behavior
    if behavior == "deny":
        answer.block(decision.text("message") or "PermissionRequest hook denied approval")


def _add_context(answer: HookAnswer, text: str) -> None:
    answer.context = _bounded(text)
    answer.add("context", answer.context)


def _required(text: str | None, event: HookEvent, name: str) -> str:
    if not (text and text.strip()):
        raise _Invalid(f"{NAMES[event]} hook refused without a {name}")
    return text


def _bounded(text: str) -> str:
    return shorten(text, MAX_TEXT_TOKENS)


class _Members:
    """The members of a JSON object that a hook wrote. Errors: _Invalid (a member of a wrong type)."""

    def __init__(self, event: HookEvent, values: Mapping[str, Any]) -> None:
        self.values = values
        self._event = event

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        return None if value is None else _bounded(self._checked(value, str, name))

    def flag(self, name: str) -> bool | None:
        value = self.values.get(name)
        return None if value is None else self._checked(value, bool, name)

    def table(self, name: str) -> _Members:
        value = self.values.get(name)
        return _Members(self._event, {} if value is None else self._checked(value, dict, name))

    def _checked(self, value: Any, expected: type[Any], name: str) -> Any:
        if not isinstance(value, expected):
            raise _Invalid(f"hook returned invalid {NAMES[self._event]} JSON output: {name} has a wrong type")
        return value
