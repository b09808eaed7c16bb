"""The MCP servers of a turn: which ones it has, waiting for their start, and what the model learns of missing ones.

A thread without servers costs nothing here: no statement, no import. Everything is decided anew at each step, from the
thread's settings and the sessions of this worker, so a turn that moves to another worker finds the same tools there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from shared.config.mcp_servers import McpServer
from shared.protocol.model_items import text_message
from shared.protocol.turn import turn_error
from workers.agent import live_questions
from workers.agent.running_turn import RunningTurn
from workers.control.stops import TurnFailed, raise_if_stop_requested
from workers.mcp import FAILED, STARTING
from workers.mcp.pool import McpPool, Place
from workers.tools.base import ToolContext

if TYPE_CHECKING:
    from workers.mcp.session import McpSession

OTHERS_SECONDS = 1.0  # for servers that are not required, before a turn's first request goes out without their tools
POLL_SECONDS = 0.05  # between looks whether the turn is to stop
HEADING = "<mcp_servers>"
ALL_WELL = f"{HEADING}\nAll MCP servers can be used.\n</mcp_servers>"


def connect_servers(turn: RunningTurn, ctx: ToolContext) -> ToolContext:
    """Return the context with the tools of the thread's MCP servers, which are started if need be.

    Errors: TurnFailed (a required server cannot be used), those of raise_if_stop_requested
    """
    pool, settings = turn.mcp_pool, turn.transcript.settings
    if pool is None or not (
        pool.operator_servers or settings.get("mcpServers") or turn.transcript.mcp_servers or turn.mcp_entered
    ):
        return ctx
    claim = turn.transcript.claim
    if not turn.mcp_entered:
        pool.enter_turn(claim.owner, claim.thread_id)
    is_first, turn.mcp_entered = not turn.mcp_entered, True
    servers = thread_servers(turn, pool)
    place = Place(ctx.cwd, ctx.sandbox, turn.sessions.limits)
    sessions = pool.ensure(claim.owner, claim.thread_id, servers, place, restarts=is_first)
    turn.mcp_tools = None
    if not sessions:
        return ctx
    _wait(turn, sessions, OTHERS_SECONDS if is_first else 0.0)

    from workers.mcp.offered_tools import OfferedTools

    turn.mcp_tools = OfferedTools(sessions)
    return replace(ctx, mcp=turn.mcp_tools, call_meta=_call_meta(turn), ask=partial(live_questions.ask, turn))


def leave_servers(turn: RunningTurn) -> None:
    """Let the turn's sessions end when they are not used for a while: the turn leaves this worker."""
    if turn.mcp_pool is not None and turn.mcp_entered:
        turn.mcp_pool.leave_turn(turn.transcript.claim.owner, turn.transcript.claim.thread_id)
        turn.mcp_entered = False


def thread_servers(turn: RunningTurn, pool: McpPool) -> Mapping[str, McpServer]:
    """Return the enabled servers of the turn's thread, with the user's own as of the present step."""
    claim, settings = turn.transcript.claim, turn.transcript.settings
    read_from = pool.generation(claim.owner), turn.transcript.mcp_servers
    if turn.mcp_servers is None or turn.mcp_servers[0] != read_from:
        brought: Any = settings.get("mcpServers") or {}
        found = pool.servers_of(claim.owner, turn.transcript.mcp_servers, brought)
        turn.mcp_servers = read_from, {name: server for name, server in found.items() if server.enabled}
    return turn.mcp_servers[1]


def add_status(turn: RunningTurn) -> None:
    """Add a message about servers that cannot be used now, if the model has not read it yet. Errors: ClaimLost."""
    if turn.mcp_tools is None:
        return
    sessions = turn.mcp_tools.sessions
    missing = [
        f"- {name}: {one.error.phrase if one.error else _why(one)}"
        for name, one in sessions.items()
        if one.state in (STARTING, FAILED)
    ]
    lines = ["These MCP servers cannot be used now, and their tools are left out:", *missing]
    text = "\n".join([HEADING, *lines, "</mcp_servers>"]) if missing else ALL_WELL
    if (_last_status(turn) or ALL_WELL) != text:
        turn.transcript.add_context([text_message("developer", text)])


def _wait(turn: RunningTurn, sessions: Mapping[str, McpSession], others_seconds: float) -> None:
    """Wait for the start of required servers, of those whose calls are open, and for others_seconds of all others."""
    has_open = any("namespace" in row.model_items[0] for row in turn.transcript.open_calls())
    began_at = time.monotonic()
    for session in sessions.values():
        is_needed = session.server.required or has_open
        until = began_at + (session.server.startup_timeout_sec + POLL_SECONDS if is_needed else others_seconds)
        while not session.settled.is_set() and time.monotonic() < until:
            session.settled.wait(min(POLL_SECONDS, max(0.0, until - time.monotonic())))
            raise_if_stop_requested(turn.signal)
    failed = [one for one in sessions.values() if one.server.required and one.state in (STARTING, FAILED)]
    if failed:
        reasons = ", ".join(f"{one.server.name}: {_why(one)}" for one in failed)
        raise TurnFailed(turn_error(f"required MCP servers failed to initialize: {reasons}", "other"))


def _why(session: McpSession) -> str:
    if session.state == STARTING:
        return "it is still starting"
    return session.error.listed.removeprefix("MCP startup failed: ") if session.error else "it has ended"


def _last_status(turn: RunningTurn) -> str | None:
    """Return the last message to the model about servers; None: there is none."""
    texts: Iterable[str] = (
        part["text"]
        for row in reversed(turn.transcript.rows)
        if row.kind == "context"
        for item in row.model_items
        for part in item["content"]
        if isinstance(part, dict) and part.get("text", "").startswith(HEADING)
    )
    return next(iter(texts), None)


def _call_meta(turn: RunningTurn) -> Mapping[str, object]:
    """Return what servers get to know about a call: ids, as the original does, and nothing of the user's text."""
    claim, settings = turn.transcript.claim, turn.transcript.settings
    ids = {"thread_id": claim.thread_id, "turn_id": claim.turn_id, "model": settings["model"]}
    return {
        "threadId": claim.thread_id,
        "sessionId": claim.thread_id,
        "x-codex-turn-metadata": {"session_id": claim.thread_id, **ids},
    }


def specs_for(turn: RunningTurn) -> Sequence[Any]:
    """Return the definitions of the servers' tools for the model."""
    if turn.mcp_tools is None:
        return ()
    from workers.tools import mcp_resources

    return [*mcp_resources.SPECS, *turn.mcp_tools.specs()]
