"""Tool calls of a turn: gives each open call its output, by running the tool or by explaining why it does not run.

Owns the path of one call: prepare, decide, enter into the ledger, run, store the result. A call that began and was lost
with its worker is never begun again unless its tool is PURE. A tool's failure is an output that the model reads, never
the end of the turn.

Calls of PARALLEL tools that follow each other in an answer run side by side, once each of them is decided; a call of
any other tool waits for those before it, and those behind wait for it.
"""

from __future__ import annotations

import contextvars
import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import cast

from shared import telemetry
from shared.errors import NO_FOLDERS, ClaimLost, SandboxUnavailable, ToolError
from shared.protocol.dynamic_tools import MCP_RESOURCE_TOOLS, functions
from shared.protocol.items import ItemStatus, ToolItem, with_status
from shared.protocol.notifications import OUTPUT_DELTA
from shared.protocol.settings import FULL_ACCESS_POLICY
from shared.protocol.turn import turn_error
from shared.protocol.user_input import SHELL_COMMAND
from shared.store.items import Item
from shared.store.users import LOCAL_USER
from workers.agent import approvals, prompt, web_search
from workers.agent.running_turn import RunningTurn
from workers.agent.transcript import Transcript
from workers.control.fault_points import fault_point
from workers.control.stops import Interrupted, TurnFailed, raise_if_stop_requested
from workers.hooks.seen_calls import arguments_of
from workers.mcp.offered_tools import McpTool
from workers.sandbox.policy import SandboxPolicy
from workers.tools import TOOLS, apply_patch, dynamic_tool, exec_command, mcp_resources, mcp_tool, user_shell
from workers.tools.base import PreparedCall, Tool, ToolCall, ToolContext, ToolResult
from workers.workspace.scope import shell_variables
from workers.workspace.thread_sandbox import FolderMissing, thread_sandbox

logger = logging.getLogger(__name__)

MAX_SIDE_BY_SIDE = 8  # calls of one turn that run at the same time
FIRST_SESSION_ID = 1000  # of a command session; with the call's position added it is unique in the thread

# Of our code, over arguments that nobody thought of. Other errors are of the database, or stop the turn.
FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
UNKNOWN_OUTCOME = (
    "This call had started when the worker that ran it was lost. Its outcome is unknown: it may have run wholly, in "
    "part or not at all. It was not run again. Look at the state of things before you repeat it."
)


@dataclass(frozen=True, slots=True)
class AllowedCall:
    """An open call that is about to run. escalated: outside of the sandbox."""

    row: Item
    tool: Tool
    prepared: PreparedCall
    ctx: ToolContext
    escalated: bool


def answer_calls(turn: RunningTurn, ctx: ToolContext) -> None:
    """Give each open call its output.

    Errors: AwaitingAnswer (a person or client must answer first), those of raise_if_stop_requested
    """

    def group(row: Item) -> str:
        call, tool = resolve(row, ctx)
        is_parallel = tool is not None and tool.PARALLEL and not (tool is exec_command and exec_command.is_patch(call))
        return "side by side" if is_parallel else row.id

    for _, rows in groupby(turn.transcript.open_calls(), group):
        allowed = []
        for row in rows:
            raise_if_stop_requested(turn.signal)
            if (call := allow_call(turn, row, ctx)) is not None:
                allowed.append(call)
        run_calls(turn, allowed)


def allow_call(turn: RunningTurn, row: Item, ctx: ToolContext) -> AllowedCall | None:
    """Return an open call that may run. None: it may not, and its output says why.

    Errors: AwaitingAnswer (a person or client must answer first), Interrupted (the user cancelled the turn), ClaimLost
    """
    transcript = turn.transcript
    call, tool = resolve(row, ctx)
    end = partial(_end, transcript, row, call, time.monotonic())
    if row.begun_at_ms is not None and not (tool is not None and tool.PURE):
        logger.warning("call outcome unknown, not repeating it", extra={"turn_id": row.turn_id, "item_id": row.id})
        return end(failed_result(row.tool_item, UNKNOWN_OUTCOME, "failed", output=_output_so_far(transcript, row)))
    if tool is None:
        return end(failed_result(row.tool_item, unknown_tool(turn, call), "failed"))
    try:
        if turn.hooks is not None:
            if (refused := turn.hooks.before_call(row)) is not None:
                return end(refused)
            row = transcript.row(row.id)
            call, _ = resolve(row, ctx)
        prepared = tool.prepare(call, ctx)
    except ToolError as error:
        return end(failed_result(row.tool_item, reason_for_user(turn.transcript, error), "failed"))
    except FAULTS:
        logger.exception("call not understood", extra={"turn_id": row.turn_id, "tool": call.name})
        unclear = "The tool failed with an internal error before it began: it cannot read these arguments."
        return end(failed_result(row.tool_item, unclear, "failed"))
    decision = approvals.require_decision(turn, row, prepared)
    if prepared.requirement is not None or prepared.mcp_tool is not None:
        telemetry.tool_decided(call.name, call.call_id, decision.decision, decision.source)
    if not decision.allowed:
        if prepared.requirement is not None and prepared.requirement.escalates:
            telemetry.sandbox_left(call.name, call.call_id, "denied")
        if decision.shown:
            transcript.publish_item_started(row, prepared)
        item = prepared.item if decision.shown else None
        end(failed_result(item, decision.explanation, decision.status, shown=decision.source != "user"))
        if decision.cancelled:
            raise Interrupted
        return None
    changes = prepared.item.get("changes") if prepared.item is not None else None
    if row.item is not None and row.item.get("changes") != changes:
        changed = "The files changed after the user was asked about this patch, so it was not applied. Read them again."
        return end(failed_result(row.tool_item, changed, "failed"))
    if prepared.request is not None:
        answer = approvals.require_answer(turn, row, prepared, prepared.request)
        ctx = replace(ctx, answer=answer, asked_at_ms=row.started_at_ms)
    if decision.escalated:
        ctx = replace(ctx, sandbox=SandboxPolicy.from_wire(FULL_ACCESS_POLICY, ctx.cwd, hidden=()))
    return AllowedCall(row, tool, prepared, ctx, decision.escalated)


def run_calls(turn: RunningTurn, calls: Sequence[AllowedCall]) -> None:
    """Run calls at the same time, MAX_SIDE_BY_SIDE at most. They begin in their order; all have ended at the return.

    Errors: those of raise_if_stop_requested, ClaimLost
    """

    def run_whole(call: AllowedCall) -> None:
        run_begun(turn.transcript, call)
        if turn.hooks is not None:
            turn.hooks.after_call(call.row.id)

    if len(calls) == 1:
        begin_call(turn.transcript, calls[0])
        return run_whole(calls[0])
    free = threading.Semaphore(MAX_SIDE_BY_SIDE)

    def run_and_free(call: AllowedCall) -> None:
        try:
            run_whole(call)
        finally:
            free.release()

    with ThreadPoolExecutor(MAX_SIDE_BY_SIDE, "call") as threads:
        running = []
        for call in calls:
            free.acquire()
            raise_if_stop_requested(turn.signal)
            begin_call(turn.transcript, call)
            running.append(threads.submit(contextvars.copy_context().run, run_and_free, call))
        for ended in running:
            ended.result()
    return None


def begin_call(transcript: Transcript, call: AllowedCall) -> None:
    """Enter into the ledger that a call begins. Errors: ClaimLost."""
    fault_point("before_begun")
    transcript.begin_call(call.row, call.prepared)
    fault_point("after_begun")


def run_begun(transcript: Transcript, allowed: AllowedCall) -> None:
    """Run a call that is in the ledger, and store its output. Errors: ClaimLost."""
    row, call = allowed.row, allowed.prepared.call
    ctx = replace(allowed.ctx, emit=partial(_emit, transcript, row.id))
    # This process may have been stopped since begin_call: another worker may have answered the call by now.
    transcript.writer.check_authority()
    began_at = time.monotonic()
    with telemetry.span("tool", tool_name=call.name, call_id=call.call_id):
        result = run_tool(transcript, allowed.tool, allowed.prepared, ctx)
    if allowed.escalated:
        telemetry.sandbox_left(call.name, call.call_id, "escalated", began_at)
    fault_point("before_ended")
    _end(transcript, row, call, began_at, result, allowed.prepared.mcp_tool)


def _end(
    transcript: Transcript,
    row: Item,
    call: ToolCall,
    began_at: float,
    result: ToolResult,
    tool: McpTool | None = None,
) -> None:
    """Store the output of a call. tool: of an MCP server"""
    transcript.end_call(row, result)
    logger.info(
        "tool call answered" if result.success else "tool call failed",
        extra={
            "turn_id": row.turn_id,
            "item_id": row.id,
            "tool": call.name if call.name in TOOLS else mcp_tool.NAME if call.namespace else None,
            "duration_ms": round((time.monotonic() - began_at) * 1000),
        },
    )
    telemetry.tool_ended(
        call.name,
        call.call_id,
        call.arguments,
        result.output,
        began_at,
        success=result.success,
        namespace=call.namespace or "",
        mcp_server=(tool.server.name, tool.server.origin or "stdio") if tool is not None else ("", ""),
    )


def resolve(row: Item, ctx: ToolContext) -> tuple[ToolCall, Tool | None]:
    """Return an open call and the tool that it names; None: there is no such tool."""
    name, arguments = name_and_arguments(row)
    session_id = FIRST_SESSION_ID + row.position
    if row.model_items[0]["type"] == SHELL_COMMAND:
        return ToolCall(row.id, "", name, arguments, session_id), user_shell
    call = ToolCall(row.id, str(row.call_id), name, arguments, session_id, row.model_items[0].get("namespace"))
    if call.namespace is not None:
        return call, mcp_tool.find(call, ctx)
    if ctx.mcp is not None and name in MCP_RESOURCE_TOOLS:
        return call, mcp_resources
    return call, dynamic_tool if name in functions(ctx.dynamic_tools) else TOOLS.get(name)


def unknown_tool(turn: RunningTurn, call: ToolCall) -> str:
    """Return what the model reads of a call whose tool does not exist, or not any more."""
    if call.namespace is not None:
        return f"unsupported call: {call.namespace}{call.name}"
    offered = prompt.offered_tools(turn.config, turn.transcript.settings)
    names = [str(tool.get("name", tool["type"])) for tool in offered]
    return f"There is no tool `{call.name}`. Tools: {', '.join(names)}."


def name_and_arguments(row: Item) -> tuple[str, str]:
    """Return the tool's name and the arguments of an open call, as the model or the user wrote them."""
    item = row.model_items[0]
    if item["type"] == SHELL_COMMAND:
        return user_shell.NAME, json.dumps(item)
    return item["name"], arguments_of(row)


def run_tool(transcript: Transcript, tool: Tool, prepared: PreparedCall, ctx: ToolContext) -> ToolResult:
    """Run a tool; return its failure as a result. Errors: ClaimLost."""
    try:
        return tool.run(prepared, ctx)
    except ToolError as error:
        return failed_result(prepared.item, reason_for_user(transcript, error), "failed")
    except ClaimLost:
        raise
    except Exception:
        logger.exception("tool failed", extra={"turn_id": ctx.turn_id, "tool": prepared.call.name})
        unknown = "The tool failed with an internal error; what it did is not known."
        return failed_result(prepared.item, unknown, "failed")


def reason_for_user(transcript: Transcript, error: ToolError) -> str:
    """Return what is told of a tool that cannot work; what the operator must mend is for the local user and the log."""
    claim = transcript.claim
    if not isinstance(error, SandboxUnavailable) or claim.owner == LOCAL_USER:
        return str(error)
    logger.warning("%s", error, extra={"turn_id": claim.turn_id})
    return NO_FOLDERS


def failed_result(
    item: ToolItem | None, explanation: str, status: ItemStatus, *, output: str = "", shown: bool = True
) -> ToolResult:
    """Return the result of a call that did not run or failed.

    item: as it began; explanation: for the model; output: of its command until then
    shown: whether the user reads the explanation, too, in place of a command's output

    An item without a status does not show that it failed, so a warning shows it to the user.
    """
    ended = with_status(item, status) if item is not None else None
    if shown and ended is not None and ended["type"] == "commandExecution" and not ended["aggregatedOutput"]:
        lines = [output.removesuffix("\n"), explanation] if output else [explanation]
        ended = {**ended, "aggregatedOutput": "\n".join(lines)}
    warnings = [("warning", {"message": explanation})] if ended is not None and "status" not in ended else []
    return ToolResult(explanation, item=cast(ToolItem | None, ended), failed=True, notifications=warnings)


def _output_so_far(transcript: Transcript, row: Item) -> str:
    """Return what clients have read of the output of a command that was lost with its worker."""
    return (transcript.writer.published_texts() or {}).get(row.id, {}).get(OUTPUT_DELTA, "")


def tool_context(turn: RunningTurn) -> ToolContext:
    """Return what tools may touch under the thread's settings. Errors: TurnFailed (the folder cannot be worked in)."""
    claim, settings, config = turn.transcript.claim, turn.transcript.settings, turn.config
    try:
        sandbox = thread_sandbox(config, claim.owner, claim.thread_id, settings)
    except FolderMissing as error:
        raise TurnFailed(turn_error(str(error), "badRequest")) from error
    except ToolError as error:
        raise TurnFailed(turn_error(reason_for_user(turn.transcript, error), "sandboxError")) from error
    return ToolContext(
        thread_id=claim.thread_id,
        turn_id=claim.turn_id,
        cwd=sandbox.cwd,
        sandbox=sandbox,
        signal=turn.signal,
        sessions=turn.sessions,
        emit=partial(_emit, turn.transcript, ""),
        complete_later=turn.transcript.complete_later,
        env=shell_variables(config, settings.get("shellEnvironmentPolicy")),
        login_shells=config.allow_login_shell and settings.get("allowLoginShell", True),
        dynamic_tools=settings.get("dynamicTools") or (),
        terminals=turn.terminals,
        web=web_search.web_access(config, settings, claim.owner, turn.commands),
    )


def publish_diff(turn: RunningTurn, ctx: ToolContext) -> None:
    """Publish turn/diff/updated, if patches of this turn changed files."""
    changes = [
        row.item["changes"]
        for row in turn.transcript.turn_rows()
        if row.kind == "fileChange" and row.item and row.item["status"] == "completed"
    ]
    if changes:
        turn.transcript.writer.publish("turn/diff/updated", {"diff": apply_patch.turn_diff(changes, ctx)})


def _emit(transcript: Transcript, item_id: str, method: str, params: Mapping[str, object]) -> None:
    """Publish a notification of a running item; output becomes a delta of the item's text."""
    if method == OUTPUT_DELTA:
        transcript.writer.publish_delta(method, item_id, str(params["delta"]))
        fault_point("mid_command")
    else:
        transcript.writer.publish(method, {"itemId": item_id, **params})
