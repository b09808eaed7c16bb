"""Automatic reviews: a second model judges what a person would be asked (BEHAVIOUR-171 10).

Owns when a review is made, its notifications and its stored outcome. The outcome is stored before the call begins, and
belongs to the item: another worker finds it and asks no second time. Whatever goes wrong is a denial. What may be asked
at all, approvals.py decides before, so a reviewer allows nothing that a person could not.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from shared.clock import now_ms
from shared.config import SCRIPTED
from shared.event_names import ItemStage, item_key
from shared.events.log import Event
from shared.protocol.auto_review import COMPLETED, METHOD, STARTED, WARNING
from shared.protocol.items import CommandExecution, ItemStatus, ToolItem
from shared.store.approvals import Approval
from shared.store.items import Item
from workers.agent import review_evidence
from workers.agent.decisions import Decision
from workers.agent.reviewer import NO_REVIEWER, ReviewerCalls, Unusable, Verdict, read_answer, request_for
from workers.agent.running_turn import RunningTurn
from workers.control.fault_points import fault_point
from workers.control.stops import Interrupted, TurnFailed, raise_if_stop_requested
from workers.tools.base import PreparedCall

SOURCE = "auto_review"
ATTEMPTS = 3  # to get an answer that is JSON, as the original
DENIALS_IN_A_ROW = 3  # of one turn; then nothing is reviewed any more in it


def review(turn: RunningTurn, row: Item, prepared: PreparedCall) -> Decision:
    """Decide about a call that needs an approval, whose item has started; publish and store the outcome.

    Errors: those of raise_if_stop_requested, TurnFailed (the user's token budget is used up)
    """
    config, settings = turn.config.auto_review, turn.transcript.settings
    started_at_ms = turn.transcript.row(row.id).started_at_ms or 0
    params = _params(row, prepared, started_at_ms)
    if not config.enabled or (config.model_provider or settings["modelProvider"]) == SCRIPTED:
        none = Verdict(False, NO_REVIEWER)
        _publish(turn, row, _started(params), (COMPLETED, "reviewCompleted", _ended(params, none, now_ms())))
        return _decision(none, prepared)
    _publish(turn, row, _started(params))
    fault_point("before_review")
    try:
        verdict = _judge(turn, prepared)
    except (Interrupted, TurnFailed):
        ended = _ended(params, Verdict(False, "The turn ended before the review."), now_ms())
        aborted = {**ended, "review": {**ended["review"], "status": "aborted"}}
        _publish(turn, row, (COMPLETED, "reviewCompleted", aborted))
        raise
    outcome = "accept" if verdict.allowed else "decline"
    answer = {
        "decision": outcome,
        "action": outcome,  # the same, as the answer to an elicitation
        "review": verdict.to_json(),
        "tokens": verdict.tokens,
        "completedAtMs": now_ms(),
    }
    full = {"threadId": row.thread_id, "turnId": row.turn_id, **params}
    stored = turn.store.claims.record_review(turn.transcript.claim, row.id, full, answer)
    fault_point("after_review")
    _publish_outcome(turn, row, stored)
    return _decision(_verdict(stored), prepared)


def stored_decision(turn: RunningTurn, row: Item, prepared: PreparedCall) -> Decision | None:
    """Return what a review has decided about a call, and publish it if a lost worker did not; None: there was none."""
    stored = turn.store.approvals.find_for_item(row.id)
    if stored is None or stored.method != METHOD:
        return None
    _publish_outcome(turn, row, stored)
    return _decision(_verdict(stored), prepared)


def _decision(verdict: Verdict, prepared: PreparedCall) -> Decision:
    if verdict.allowed:
        escalated = prepared.requirement is not None and prepared.requirement.escalates
        return Decision(True, escalated=escalated, source=SOURCE)
    status: ItemStatus = "declined" if prepared.mcp_tool is None else "failed"  # as when a person rejects it
    return Decision(False, explanation=verdict.explanation, status=status, source=SOURCE)


def _verdict(approval: Approval) -> Verdict:
    """Return the outcome of a stored review."""
    answer: Mapping[str, Any] = approval.answer or {}
    review = answer["review"]
    allowed = answer["decision"] == "accept"
    return Verdict(
        allowed, review["rationale"], review["riskLevel"], review["userAuthorization"], answer.get("tokens", 0)
    )


def _publish_outcome(turn: RunningTurn, row: Item, approval: Approval) -> None:
    """Publish the outcome of a stored review; harmless when repeated."""
    verdict = _verdict(approval)
    message = verdict.rationale
    if verdict.risk is not None:
        found = f"risk: {verdict.risk}, authorization: {verdict.authorization}"
        message = f"Automatic approval review {verdict.to_json()['status']} ({found}): {verdict.rationale}"
    params = {name: value for name, value in approval.params.items() if name not in ("threadId", "turnId")}
    ended = _ended(params, verdict, int(str((approval.answer or {})["completedAtMs"])))
    warning = Event(WARNING, {"threadId": row.thread_id, "message": message}, key=item_key(row.id, "reviewWarning"))
    turn.transcript.writer.publish_events(warning)
    _publish(turn, row, (COMPLETED, "reviewCompleted", ended))


def _action(item: ToolItem) -> dict[str, Any]:
    """Return the action of a review's notifications."""
    if item["type"] == "fileChange":
        files = [change["path"] for change in item["changes"]]
        folder = os.path.commonpath([os.path.dirname(path) for path in files])
        return {"type": "applyPatch", "cwd": folder, "files": files}
    if item["type"] == "mcpToolCall":
        return {"type": "mcpToolCall", "server": item["server"], "toolName": item["tool"]}
    command = cast(CommandExecution, item)  # only patches, commands and tools of MCP servers need approval
    return {"type": "command", "source": "unifiedExec", "command": command["command"], "cwd": command["cwd"]}


def _judge(turn: RunningTurn, prepared: PreparedCall) -> Verdict:
    """Return the verdict of the reviewer, or a denial when there can be none."""
    config, turn_id = turn.config.auto_review, turn.transcript.claim.turn_id
    earlier = [_verdict(one) for one in turn.store.approvals.reviews_of_turn(turn_id)]
    last = earlier[-DENIALS_IN_A_ROW:]
    action = review_evidence.planned_action(prepared)
    if len(last) == DENIALS_IN_A_ROW and not any(one.allowed for one in last):
        return _failure(f"{DENIALS_IN_A_ROW} actions of this turn in a row were not allowed, so no more are reviewed")
    if sum(one.tokens for one in earlier) >= config.tokens_per_turn:
        return _failure(f"the reviews of this turn have used their {config.tokens_per_turn} tokens")
    if action is None:
        return _failure("the action is too long to be reviewed as a whole")
    calls = ReviewerCalls(turn, request_for(turn, action))
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            return replace(read_answer(calls.ask()), tokens=calls.tokens)
        except Unusable as unusable:
            reason = str(unusable)
            raise_if_stop_requested(turn.signal)
            if calls.seconds_left <= 0:
                reason = f"no answer within {config.timeout_seconds:g} s"
                break
    return replace(_failure(reason), tokens=calls.tokens)


def _failure(reason: str) -> Verdict:
    return Verdict(False, f"Automatic approval review failed: {reason}")


_Notice = tuple[str, ItemStage, Mapping[str, object]]


def _params(row: Item, prepared: PreparedCall, started_at_ms: int) -> dict[str, Any]:
    assert prepared.item is not None
    return {
        "reviewId": str(uuid.uuid5(uuid.UUID(row.id), METHOD)),  # the same in each worker that tries
        "targetItemId": row.id,
        "startedAtMs": started_at_ms,
        "action": _action(prepared.item),
    }


def _started(params: Mapping[str, object]) -> _Notice:
    none = {"status": "inProgress", "riskLevel": None, "userAuthorization": None, "rationale": None}
    return STARTED, "reviewStarted", {**params, "review": none}


def _ended(params: Mapping[str, object], verdict: Verdict, at_ms: int) -> dict[str, Any]:
    return {**params, "review": verdict.to_json(), "completedAtMs": at_ms, "decisionSource": "agent"}


def _publish(turn: RunningTurn, row: Item, *notices: _Notice) -> None:
    """Publish notifications of a review, each once however often a worker is lost."""
    ids = {"threadId": row.thread_id, "turnId": row.turn_id}
    events = [Event(method, {**ids, **params}, key=item_key(row.id, stage)) for method, stage, params in notices]
    turn.transcript.writer.publish_events(*events)
