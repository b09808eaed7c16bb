"""user_shell: run a command line that the user typed. No model is offered this tool, and it needs no approval.

It is a call like the model's own, so that the ledger, an interrupt and a lost worker have the same effect on it.
"""

from __future__ import annotations

import json
from typing import cast

from shared.protocol.items import CommandExecution
from workers.tools.base import PreparedCall, ToolCall, ToolContext, ToolResult
from workers.tools.exec_command import (
    MAX_OUTPUT_TOKENS,
    OUTPUT_DELTA,
    begun_item,
    default_shell,
    wait_and_report,
)

NAME = "user_shell"
PURE = False
PARALLEL = False


def prepare(call: ToolCall, ctx: ToolContext) -> PreparedCall:
    """Prepare the call. Item: `commandExecution` with source `userShell`; data: argv, time limit in ms or None."""
    arguments = json.loads(call.arguments)
    argv = [default_shell(), "-lc" if ctx.login_shells else "-c", arguments["command"]]
    item = begun_item(argv, arguments["command"], ctx.cwd, "userShell")
    return PreparedCall(call, item=item, data=(argv, arguments.get("timeoutMs")))


def run(prepared: PreparedCall, ctx: ToolContext) -> ToolResult:
    """Run the command to its end in the thread's sandbox. Errors: ClaimLost, once every process of it has ended."""
    argv, timeout_ms = prepared.data
    session = ctx.sessions.start(
        argv,
        session_id=prepared.call.session_id,
        cwd=ctx.cwd,
        policy=ctx.sandbox,
        item_id=prepared.call.item_id,
        item=cast(CommandExecution, prepared.item),
        env=ctx.env,
        tty=False,
        on_output=lambda text: ctx.emit(OUTPUT_DELTA, {"delta": text}),
    )
    if timeout_ms is not None:
        session.process.terminate("time limit", after_s=timeout_ms / 1000)
    report = wait_and_report(session, ctx, None, MAX_OUTPUT_TOKENS)
    ctx.sessions.forget(session)
    return ToolResult(report, item={**session.ended_item(), "source": "userShell"})
