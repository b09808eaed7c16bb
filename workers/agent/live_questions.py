"""Questions of an MCP server while a call runs: stored like an approval request, but its turn is not parked.

The call is alive in this process, so the turn stays here and waits, for a limited time. The question survives a
client's reconnect, and any API process stores the answer. If this worker is lost, the call is lost with it, and the
next worker drops the question.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from shared.events import durable_events
from shared.events.log import Event
from shared.ids import new_id
from shared.protocol.server_requests import ClientAnswer, ServerRequestParams
from shared.store.approvals import Approval
from workers.agent.decisions import may_ask
from workers.agent.mcp_approvals import MCP_QUESTION
from workers.agent.running_turn import RunningTurn
from workers.control.signal import StopReason
from workers.mcp.errors import McpStopped

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 600.0  # for which a server's question is open; then it is declined
GRACE_SECONDS = 60.0  # after that, before the sweep declines a question that its worker left
POLL_SECONDS = 0.3  # between looks for the answer: it may come through any API process
DECLINE: ClientAnswer = {"action": "decline"}
STOPS = (StopReason.INTERRUPT, StopReason.REVOKED, StopReason.DRAIN)


def ask(turn: RunningTurn, method: str, params: ServerRequestParams, is_over: Callable[[], bool]) -> ClientAnswer:
    """Return what the thread's clients answer; a refusal when nobody may be asked or nobody answers in time.

    is_over: whether nobody waits for the answer any more
    Errors: McpStopped (the turn is to stop), ClaimLost
    """
    transcript = turn.transcript
    settings = transcript.settings
    if not may_ask(settings["approvalPolicy"], MCP_QUESTION) or settings.get("approvalsReviewer", "user") != "user":
        return DECLINE
    claim, seconds = transcript.claim, min(ANSWER_SECONDS, turn.config.server.approval_timeout_seconds)
    full = {"threadId": claim.thread_id, "turnId": claim.turn_id, **params}
    expires_in_ms = round((seconds + GRACE_SECONDS) * 1000)
    approval = turn.store.claims.ask(claim, method, new_id(), full, expires_in_ms=expires_in_ms)
    transcript.writer.publish_events(*durable_events.approval_requested(approval), urgent=True)
    logger.info("question asked, the call waits", extra={"turn_id": claim.turn_id, "method": method})
    until = time.monotonic() + seconds
    while time.monotonic() < until and not is_over():
        if any(reason in turn.signal for reason in STOPS):
            _close(turn, approval)
            raise McpStopped("stopped")
        found = turn.store.approvals.find(approval.id, claim.owner)
        if found is None or found.state != "pending":
            break
        time.sleep(POLL_SECONDS)
    return _close(turn, approval)


def _close(turn: RunningTurn, approval: Approval) -> ClientAnswer:
    """End a question and publish that; return the answer if there is one. Errors: ClaimLost."""
    transcript = turn.transcript
    transcript.writer.check_authority()
    turn.store.approvals.drop(approval.id)
    found = turn.store.approvals.find(approval.id, approval.owner)
    active = {"threadId": approval.thread_id, "status": {"type": "active", "activeFlags": []}}
    transcript.writer.publish_events(
        durable_events.approval_resolved(approval), Event("thread/status/changed", active), urgent=True
    )
    return found.answer or DECLINE if found is not None and found.state == "answered" else DECLINE
