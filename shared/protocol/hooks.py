"""Hooks on the wire (BEHAVIOUR-171 9): programs of the operator or the user that run at events of a turn.

`Hook` is also how a hook is stored in a thread's settings and kept in the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, TypedDict

HookEvent = Literal[
    "preToolUse",
    "permissionRequest",
    "postToolUse",
    "preCompact",
    "postCompact",
    "sessionStart",
    "sessionEnd",
    "userPromptSubmit",
    "subagentStart",
    "subagentStop",
    "stop",
]
HookSource = Literal["system", "user", "project"]
TrustStatus = Literal["managed", "trusted", "modified", "untrusted"]
RunStatus = Literal["running", "completed", "blocked", "failed", "stopped"]
EntryKind = Literal["feedback", "context", "error", "warning", "stop"]

# The name in a hooks.json → the event, in the order in which hooks are listed.
EVENTS: Mapping[str, HookEvent] = {
    "PreToolUse": "preToolUse",
    "PermissionRequest": "permissionRequest",
    "PostToolUse": "postToolUse",
    "PreCompact": "preCompact",
    "PostCompact": "postCompact",
    "SessionStart": "sessionStart",
    "SessionEnd": "sessionEnd",
    "UserPromptSubmit": "userPromptSubmit",
    "SubagentStart": "subagentStart",
    "SubagentStop": "subagentStop",
    "Stop": "stop",
}
NAMES: Mapping[HookEvent, str] = {event: name for name, event in EVENTS.items()}
# This server lists hooks of these events, as the original does, and never runs them.
WITHOUT_EFFECT: frozenset[HookEvent] = frozenset({"sessionEnd", "subagentStart", "subagentStop"})


class Hook(TypedDict):
    """One program of a hook file.

    key:         what trust in it is stored under: "PATH:EVENT:GROUP:HANDLER"
    matcher:     which tools or triggers it is for; None: all
    sourcePath:  the file as clients see it; the server's own files have no real path there
    currentHash: of everything that the file says about it
    """

    key: str
    eventName: HookEvent
    command: str
    matcher: str | None
    timeoutSec: int
    statusMessage: str | None
    sourcePath: str
    source: HookSource
    currentHash: str


Asynchronous = TypedDict("Asynchronous", {"async": bool})


class ListedHook(Hook, Asynchronous):
    """A hook as hooks/list shows it. displayOrder: its place in the list; enabled: whether its user has left it on."""

    handlerType: Literal["command"]
    additionalContextLimit: None
    pluginId: None
    environmentId: None
    displayOrder: int
    enabled: bool
    isManaged: bool
    trustStatus: TrustStatus


class HookFileProblem(TypedDict):
    """Why a hook file cannot be used. path: of the file"""

    message: str
    path: str


class HookEntry(TypedDict):
    """What a hook said or did. kind: feedback stops something, context goes to the model, the others to the user."""

    kind: EntryKind
    text: str


class HookRun(TypedDict):
    """One run of a hook. startedAt, completedAt: Unix seconds."""

    id: str
    eventName: HookEvent
    handlerType: Literal["command"]
    executionMode: Literal["sync"]
    scope: Literal["thread", "turn"]
    sourcePath: str
    source: HookSource
    displayOrder: int
    status: RunStatus
    statusMessage: str | None
    startedAt: int
    completedAt: int | None
    durationMs: int | None
    entries: Sequence[HookEntry]


class HookNotes(TypedDict, total=False):
    """What hooks have decided about a row of the log. Stored with the row, so that no hook decides twice.

    before:     PreToolUse hooks have let the call pass
    arguments:  the call's arguments as they changed them
    context:    what the model is to read before the output
    permission, message: what PermissionRequest hooks have answered, and why; "ask": nothing, so a person is asked
    after:      PostToolUse hooks have seen the output, or it came too late for them
    blocked:    the row stands for a prompt that a UserPromptSubmit hook has refused
    started:    SessionStart hooks have run
    """

    before: bool
    arguments: NotRequired[str]
    context: NotRequired[Sequence[str]]
    permission: Literal["allow", "deny", "ask"]
    message: str
    after: bool
    blocked: bool
    started: bool
