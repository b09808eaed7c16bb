"""The loop of a turn: step after step, each from the stored log, until the model asks for no more tools.

Owns the order of a step and what ends the loop. A step reads the log, then does one thing: answers the open calls
(tool_calls.py), compacts the history (compaction.py), or requests an answer of the model (model_calls.py). Crash
recovery, an approval's answer and the normal next step are the same path, because every step starts from the log.
"""

from __future__ import annotations

import time
from functools import partial

from shared import telemetry
from shared.clock import now_ms
from shared.events.log import Event
from shared.protocol.items import with_status
from shared.protocol.model_items import text_message
from workers.agent import (
    budget,
    compaction,
    first_steps,
    input_images,
    mcp_servers,
    model_calls,
    skill_mentions,
    tool_calls,
)
from workers.agent.review import enter_review, exit_review
from workers.agent.running_commands import complete_ended_commands
from workers.agent.running_turn import RunningTurn
from workers.agent.turn_hooks import turn_hooks
from workers.control.signal import StopReason
from workers.control.stops import Interrupted, raise_if_stop_requested
from workers.workspace.scope import workspace_scope

MAX_WARNINGS = 20  # about the skills of one step


def run(turn: RunningTurn) -> None:
    """Step until the model asks for no more tools. Errors: those of workers.control.stops, ClaimLost."""
    while step(turn):
        pass


def step(turn: RunningTurn) -> bool:
    """Answer the open calls, or request one answer of the model. False: there is nothing left to do."""
    raise_if_stop_requested(turn.signal)
    transcript = turn.transcript
    turn.signal.clear(StopReason.STEER)  # before reading pending input, so that no request for it is missed
    transcript.load()
    if transcript.pending_inputs:
        turn.signal.seen_input_id = transcript.pending_inputs[-1].id
    if transcript.interrupted:
        raise Interrupted
    telemetry.describe_model(transcript.settings)
    if transcript.settings.get("workspace") and not turn.has_workspace:
        first_steps.make_workspace(turn.config, turn.store, transcript, turn.signal)
        turn.has_workspace = True
    ctx = tool_calls.tool_context(turn)
    if needs_answer(turn) or any(one.command is None for one in transcript.pending_inputs):
        ctx = mcp_servers.connect_servers(turn, ctx)
    turn.hooks = turn_hooks(turn, ctx)
    if transcript.open_calls():
        tool_calls.answer_calls(turn, ctx)
        complete_ended_commands(turn)
        tool_calls.publish_diff(turn, ctx)
        transcript.usage.publish()
        return True
    if turn.hooks is not None:
        turn.hooks.finish()
    complete_ended_commands(turn)
    if not transcript.pending_inputs and transcript.is_answered:
        return conclude(turn)
    if compaction.is_due(turn):
        compaction.compact(turn)
        return True
    if not transcript.pending_inputs and not needs_answer(turn):
        return False
    context: dict[int, list[str]] = {}
    hook_events: list[Event] = []
    if turn.hooks is not None and transcript.pending_inputs:
        context, hook_events = turn.hooks.before_input()
        if not transcript.pending_inputs:
            return True
    skills = first_steps.add_missing_context(turn, ctx)
    mcp_servers.add_status(turn)
    transcript.add_reports()
    if turn.kind == "review":
        enter_review(turn)
    refused: list[str] = []
    refused_skills: list[str] = []
    transcript.add_pending_inputs(
        input_images.reader(ctx, partial(workspace_scope, turn.config, transcript.claim.owner), refused),
        skill_mentions.reader(skills, refused_skills),
        context,
        hook_events,
    )
    for reason in refused:
        transcript.writer.publish("warning", {"message": f"an image was left out: {reason}"})
    for sentence in list(dict.fromkeys(refused_skills))[:MAX_WARNINGS]:
        transcript.writer.publish("warning", {"message": sentence})
    if transcript.open_calls() or not model_calls.request_answer(turn):
        return True
    return True if transcript.open_calls() else conclude(turn)


def needs_answer(turn: RunningTurn) -> bool:
    """Return whether the model must answer: compact and shell turns without a message are the server's work alone.

    A turn whose only prompts a hook has refused is over.
    """
    transcript = turn.transcript
    rows = [row for row in transcript.rows if row.hooks is not None and row.turn_id == transcript.claim.turn_id]
    if turn.kind not in ("compact", "shell") and not any(row.hooks and row.hooks.get("blocked") for row in rows):
        return True
    return any(row.kind == "userMessage" for row in transcript.turn_rows())


def conclude(turn: RunningTurn) -> bool:
    """Publish what belongs to the end of the last answer. False: there is nothing left to do; no hook goes on."""
    exit_review(turn, turn.transcript.last_message)
    turn.transcript.usage.publish()
    budget.publish_current_standing(turn)
    return turn.hooks is not None and not turn.hooks.lets_stop()


def resume_after_loss(turn: RunningTurn) -> None:
    """End the items of commands that were lost with an earlier worker, and report that to the model.

    Errors: ClaimLost
    """
    transcript = turn.transcript
    transcript.load()
    if transcript.is_answered or transcript.open_calls():  # the earlier attempt may not have published its usage
        transcript.usage.mark_unpublished()
    lost = [row for row in transcript.turn_rows() if row.answered and row.started_at_ms and not row.completed_at_ms]
    if lost:  # those that run on as background terminals are not
        running = turn.store.terminals.of_thread(transcript.claim.thread_id, transcript.claim.owner)
        lost = [row for row in lost if row.id not in {terminal.item_id for terminal in running}]
    for row in lost:
        assert row.tool_item is not None  # it has begun, so clients see it
        transcript.complete_later(row.id, with_status(row.tool_item, "failed"))
    if lost:
        commands = ", ".join(f"`{(row.item or {}).get('command', row.kind)}`" for row in lost)
        report = f"The worker that ran this turn was lost, and with it the commands that still ran: {commands}."
        transcript.add_context([text_message("developer", report)])


def close_calls(turn: RunningTurn, reason: str) -> None:
    """Add input that no step has read, and answer the open calls of a turn that ends early. Errors: ClaimLost."""
    turn.transcript.load_whole()
    turn.transcript.add_pending_inputs()
    for row in turn.transcript.open_calls():
        has_begun = row.begun_at_ms is not None
        explanation = tool_calls.UNKNOWN_OUTCOME if has_begun else f"{reason} This call was not run."
        turn.transcript.end_call(row, tool_calls.failed_result(row.tool_item, explanation, "failed"))
        name, arguments = tool_calls.name_and_arguments(row)
        began_at = time.monotonic() - max(0, now_ms() - (row.begun_at_ms or now_ms())) / 1000
        telemetry.tool_ended(name, str(row.call_id), arguments, explanation, began_at, success=False)
    exit_review(turn, f"The review did not come to its end. {reason}")
