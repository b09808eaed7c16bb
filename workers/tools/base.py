"""What every tool is given and what it gives back.

A tool is a module with NAME, PURE, SPEC (a Responses-API tool definition), and two functions:

    plan(call, ctx) -> Plan       reads arguments, changes nothing; ToolError when they make no sense
    run(plan, ctx) -> Outcome     does it; ToolError when it fails as a whole

PURE says that a call which began and was lost with its worker may simply be run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from workers.agent.signal import Signal

if TYPE_CHECKING:
    from workers.sandbox.policy import SandboxPolicy
    from workers.sandbox.sessions import Sessions


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of the model.

    item_id:   id of the item (our UUIDv7)
    call_id:   the model's id of the call
    name:      the tool
    arguments: JSON text of a function call, or the raw text of a custom (freeform) call
    """

    item_id: str
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolContext:
    """All that a tool may touch.

    cwd:       absolute folder of the thread on this host
    sandbox:   what commands and patches of this thread may read and write
    signal:    calls that a running tool must hear
    sessions:  command sessions of this turn in this process
    emit:      emit(method, params) publishes a notification of the running item; threadId, turnId and
               itemId are filled in (item/commandExecution/outputDelta with {"delta": text})
    complete_later: complete_later(item_id, item) completes the item of an earlier call whose command went on
    dynamic_tools: the tools that the thread's client has (shared.protocol.dynamic_tools)
    answer:   what a client answered to the plan's request: the result of it, or {"error"}; anything that it made up
    asked_at_ms: when it was asked
    """

    thread_id: str
    turn_id: str
    cwd: Path
    sandbox: SandboxPolicy
    signal: Signal
    sessions: Sessions
    emit: Callable[[str, dict[str, Any]], None]
    complete_later: Callable[[str, dict[str, Any]], None]
    dynamic_tools: Sequence[dict[str, Any]] = ()
    answer: dict[str, Any] = field(default_factory=dict)
    asked_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """An approval that a plan needs before it may run (PROTOCOL section 8).

    why:            what the model or the policy says, for `reason`
    keys:           what "acceptForSession" would allow from now on, as opaque strings
    amendment:      proposed execpolicy prefix (words of a command), or None
    escalates:      whether the model asked to leave the sandbox, or the patch writes outside of it
    line:           what a shell that is the system's own would run, for the rules that a person has made; or None
    """

    why: str | None
    keys: tuple[str, ...]
    amendment: tuple[str, ...] | None = None
    escalates: bool = False
    line: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What a client must answer before a plan can run (PROTOCOL 8.3, 8.4). params: less threadId and turnId."""

    method: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """A call that makes sense.

    call:     the call
    item:     the item as it begins (PROTOCOL 3.3, without id and times), or None when clients see nothing
    question: what must be asked under a policy that asks; None for tools that never need it
    data:     what the tool wants to remember until run()
    request:  what a client must answer first; run() finds that in ctx.answer
    """

    call: Call
    item: dict[str, Any] | None
    question: Question | None = None
    data: Any = None
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call.

    output:  what the model is told: text, or a list of Responses-API content parts
    item:    the item as it ended (without id and times); None: no item, or it stays open
    goes_on: the command still runs in a session; the item completes later by ctx.complete_later
    notifications: (method, params) to publish after the item, threadId and turnId filled in
    failed:  nothing came of it, whatever the item says
    """

    output: str | list[dict[str, Any]]
    item: dict[str, Any] | None = None
    goes_on: bool = False
    notifications: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    failed: bool = False

    @property
    def success(self) -> bool:
        return not self.failed and (self.item or {}).get("status") not in ("failed", "declined")


class Tool(Protocol):
    """The shape of a tool module."""

    NAME: str
    PURE: bool
    SPEC: dict[str, Any]

    def plan(self, call: Call, ctx: ToolContext) -> Plan: ...

    def run(self, plan: Plan, ctx: ToolContext) -> Outcome: ...
