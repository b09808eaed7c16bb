"""What a tool receives and what it returns.

A tool is a module with NAME, PURE, PARALLEL, and two functions; one that every model may call also has SPEC, its
definition:

    prepare(call, ctx) -> PreparedCall   reads the arguments and changes nothing; ToolError when they are invalid
    run(prepared, ctx) -> ToolResult     carries the call out; ToolError when it fails as a whole

PURE:     a call that began and was lost with its worker may simply be run again.
PARALLEL: its calls may run while others of the same answer do; `run` is called in several threads then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from shared.protocol.dynamic_tools import DynamicTool
from shared.protocol.items import ToolItem
from shared.protocol.model_items import ContentPart, ToolDefinition
from shared.protocol.server_requests import ClientAnswer, ServerRequestParams
from workers.control.signal import Signal

if TYPE_CHECKING:
    from workers.mcp.offered_tools import McpTool, OfferedTools
    from workers.sandbox.policy import SandboxPolicy
    from workers.sandbox.sessions import CommandSessions
    from workers.web.access import WebAccess


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call of the model.

    item_id:   id of the item (our UUIDv7)
    session_id: the number by which the model knows the command that the call starts; unique in the thread
    call_id:   the model's id of the call
    name:      name of the tool
    namespace: of a tool of an MCP server
    arguments: JSON text of a function call, or the raw text of a custom (freeform) call
    """

    item_id: str
    call_id: str
    name: str
    arguments: str
    session_id: int = 0
    namespace: str | None = None


class BackgroundTerminals(Protocol):
    """The commands of earlier turns of the thread that still run, in whichever worker process."""

    def find(self, session_id: int) -> str | None:
        """Return the id of the item of a command that runs; None: there is none with this number."""

    def write(self, session_id: int, chars: str, yield_s: float, max_output_tokens: int) -> str:
        """Type into a command, wait for its end for yield_s at most, and return what happened. Errors: ToolError."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Everything that a tool may touch.

    cwd:       absolute folder of the thread on this host
    sandbox:   what commands and patches of this thread may read and write
    signal:    requests to stop, which a running tool must obey
    sessions:  command sessions of this turn in this process
    terminals: commands that run on from earlier turns; None: there are none
    emit:      emit(method, params) publishes a notification of the running item; threadId, turnId and
               itemId are filled in (item/commandExecution/outputDelta with {"delta": text})
    complete_later: complete_later(item_id, item) completes the item of an earlier call whose command ran on
    env:       variables of commands, and None for those to leave out (CommandSpec.env)
    login_shells: whether commands may run in a login shell, which reads the profiles of HOME and host
    dynamic_tools: the tools that the thread's client has (shared.protocol.dynamic_tools)
    answer:   what a client answered to the call's request: its result, or {"error"}; not validated
    asked_at_ms: when the request was sent to the client
    web:      what the tool web_search may do; None: nothing
    mcp:      the tools of the thread's MCP servers; None: it has no such servers
    call_meta: what MCP servers get to know about a call (its `_meta`)
    ask:      ask(method, params, is_over) asks the thread's clients while a call runs, and returns the answer;
              is_over: whether nobody waits for it any more
    """

    thread_id: str
    turn_id: str
    cwd: Path
    sandbox: SandboxPolicy
    signal: Signal
    sessions: CommandSessions
    emit: Callable[[str, Mapping[str, object]], None]
    complete_later: Callable[[str, ToolItem], None]
    env: Mapping[str, str | None] = field(default_factory=dict)
    login_shells: bool = True
    dynamic_tools: Sequence[DynamicTool] = ()
    terminals: BackgroundTerminals | None = None
    answer: ClientAnswer = field(default_factory=dict)
    asked_at_ms: int | None = None
    web: WebAccess | None = None
    mcp: OfferedTools | None = None
    call_meta: Mapping[str, object] = field(default_factory=dict)
    ask: Callable[[str, ServerRequestParams, Callable[[], bool]], ClientAnswer] | None = None


@dataclass(frozen=True, slots=True)
class ApprovalRequirement:
    """The approval that a call needs before it may run, under a policy that asks (PROTOCOL section 8).

    reason:     why the model or the policy needs it, for the person who is asked
    keys:       what "acceptForSession" would allow from now on, as opaque strings
    amendment:  proposed execpolicy prefix (words of a command), or None
    escalates:  whether the model asked to leave the sandbox, or the patch writes outside of it
    shell_line: the command line, to be checked against the rules that a person has made; None unless the shell is one
                of the system's own
    """

    reason: str | None
    keys: tuple[str, ...]
    amendment: tuple[str, ...] | None = None
    escalates: bool = False
    shell_line: str | None = None


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """What a client must answer before a call can run (PROTOCOL 8.3, 8.4). params: without threadId and turnId."""

    method: str
    params: ServerRequestParams


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A call whose arguments are valid.

    call:        the call
    item:        the item as it begins (PROTOCOL 3.3, without id and times), or None when clients see nothing
    begun_item:  the item of a call that runs without a question; None: the same
    requirement: the approval that it needs under a policy that asks; None for tools that never need one
    data:        what the tool keeps for run()
    request:     what a client must answer first; run() finds the answer in ctx.answer
    mcp_tool:    the tool of an MCP server, which decides whether the call needs an approval
    """

    call: ToolCall
    item: ToolItem | None
    requirement: ApprovalRequirement | None = None
    data: Any = None
    request: ClientRequest | None = None
    begun_item: ToolItem | None = None
    mcp_tool: McpTool | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The outcome of a call.

    output:  what the model reads: text, or a list of Responses-API content parts
    item:    the item as it ended (without id and times); None: no item, or it stays open
    goes_on: the command still runs in a session; ctx.complete_later completes the item later
    notifications: (method, params) to publish after the item; threadId and turnId are filled in
    failed:  the call failed, whatever the item says
    """

    output: str | Sequence[ContentPart]
    item: ToolItem | None = None
    goes_on: bool = False
    notifications: Sequence[tuple[str, Mapping[str, object]]] = ()
    failed: bool = False

    @property
    def success(self) -> bool:
        status = self.item.get("status") if self.item is not None else None
        return not self.failed and status not in ("failed", "declined")


class Tool(Protocol):
    """A tool module, or the tool of an MCP server."""

    @property
    def NAME(self) -> str: ...

    @property
    def PURE(self) -> bool: ...

    @property
    def PARALLEL(self) -> bool: ...

    def prepare(self, call: ToolCall, ctx: ToolContext) -> PreparedCall: ...

    def run(self, prepared: PreparedCall, ctx: ToolContext) -> ToolResult: ...


class OfferedTool(Tool, Protocol):
    """A tool module that models are offered. SPEC: its definition for the Responses API."""

    SPEC: ToolDefinition
