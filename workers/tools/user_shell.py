"""user_shell: a line that the user typed for the shell. No model is offered it, and nobody is asked about it.

It is a call like the model's own, so that the ledger, an interrupt and a lost worker mean the same to it.
"""

from __future__ import annotations

import json
from typing import Any

from workers.tools.base import Call, Outcome, Plan, ToolContext
from workers.tools.exec_command import (
    MAX_OUTPUT_TOKENS,
    OUTPUT_DELTA,
    begun_item,
    default_shell,
    wait_and_tell,
)

NAME = "user_shell"
PURE = False
SPEC: dict[str, Any] = {}


def plan(call: Call, ctx: ToolContext) -> Plan:
    """Item `commandExecution` with source `userShell`; data: its words, and its time limit in ms or None."""
    given = json.loads(call.arguments)
    argv = [default_shell(), "-lc", given["command"]]
    item = begun_item(argv, given["command"], ctx.cwd, "userShell")
    return Plan(call, item=item, data=(argv, given.get("timeoutMs")))


def run(plan: Plan, ctx: ToolContext) -> Outcome:
    """Run it to its end in the thread's sandbox. Errors: ClaimLost, when its whole tree is dead."""
    argv, timeout_ms = plan.data
    assert plan.item is not None
    session = ctx.sessions.start(
        argv,
        cwd=ctx.cwd,
        policy=ctx.sandbox,
        item_id=plan.call.item_id,
        item=plan.item,
        tty=False,
        on_output=lambda text: ctx.emit(OUTPUT_DELTA, {"delta": text}),
    )
    if timeout_ms is not None:
        session.process.terminate("time limit", after_s=timeout_ms / 1000)
    told = wait_and_tell(session, ctx, None, MAX_OUTPUT_TOKENS)
    ctx.sessions.forget(session)
    return Outcome(told, item={**session.ended_item(), "source": "userShell"})
