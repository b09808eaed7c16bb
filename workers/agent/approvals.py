"""Whether a call may run: the policy, earlier permissions, or a request to a person (PROTOCOL section 8).

Owns the decision about a prepared call, and parking the turn while a person or a client has to answer. Reads approvals
and rules from the store and adds the rules that a person accepts; runs nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, cast

from shared import telemetry
from shared.protocol.items import CommandExecution
from shared.protocol.sandbox_modes import FULL_ACCESS
from shared.protocol.server_requests import ApprovalDecision, CommandApprovalParams
from shared.store import Store
from shared.store.approvals import Approval
from shared.store.items import Item
from shared.store.users import LOCAL_USER
from workers.agent import auto_review, mcp_approvals
from workers.agent.decisions import FOR_SESSION, ApprovalRequest, Decision, may_ask
from workers.agent.running_commands import KeptCommands
from workers.agent.running_turn import RunningTurn
from workers.control.stops import AwaitingAnswer
from workers.tools import shell_words
from workers.tools.base import ClientRequest, PreparedCall

if TYPE_CHECKING:
    from workers.agent.turn_hooks import TurnHooks

logger = logging.getLogger(__name__)

COMMAND = "item/commandExecution/requestApproval"
PATCH = "item/fileChange/requestApproval"


def require_decision(turn: RunningTurn, row: Item, prepared: PreparedCall) -> Decision:
    """Return whether a call may run.

    Errors: AwaitingAnswer: a person must be asked, and the turn is parked; Interrupted
    """
    transcript = turn.transcript
    claim, policy = transcript.claim, transcript.settings["approvalPolicy"]
    may_escalate = FULL_ACCESS in turn.config.allowed_modes(hosted=claim.owner != LOCAL_USER)
    if prepared.mcp_tool is not None:
        decision = mcp_approvals.decide(turn.store, claim, prepared, policy, transcript.settings["sandboxPolicy"])
    else:
        decision = decide(turn.store, claim.owner, claim.thread_id, prepared, policy, may_escalate=may_escalate)
    is_reviewed = transcript.settings.get("approvalsReviewer", "user") != "user"
    if isinstance(decision, Decision):
        stored = auto_review.stored_decision(turn, row, prepared) if is_reviewed and decision.source == "user" else None
        return stored or decision
    if turn.hooks is not None and (by_hook := _decide_by_hooks(turn.hooks, row, prepared)) is not None:
        return by_hook
    transcript.publish_item_started(row, prepared)
    if is_reviewed:
        return auto_review.review(turn, row, prepared)
    started_at_ms = transcript.row(row.id).started_at_ms or 0
    about_item = {} if prepared.mcp_tool is not None else {"itemId": row.id, "startedAtMs": started_at_ms}
    params = {**about_item, **decision.params}
    return park(turn, row, decision.method, params, decision.keys)


def _decide_by_hooks(hooks: TurnHooks, row: Item, prepared: PreparedCall) -> Decision | None:
    """Return what PermissionRequest hooks have decided in a person's place; None: the person is asked."""
    requirement = prepared.requirement  # None: of a tool of an MCP server
    notes = hooks.permission(row, requirement.reason if requirement else None)
    match notes.get("permission"):
        case "allow":
            return Decision(allowed=True, escalated=requirement is not None and requirement.escalates)
        case "deny":
            return Decision(False, explanation=_denial_by_hook(prepared, notes["message"]), shown=False)
    return None


def _denial_by_hook(prepared: PreparedCall, reason: str) -> str:
    """Return what the model reads: of a command in the original's words, which speak of a process."""
    name = prepared.call.name
    if prepared.item is None or prepared.item["type"] != "commandExecution":
        return f"{name} was denied by a PermissionRequest hook: {reason}"
    rejected = json.dumps(reason, ensure_ascii=False)
    message = json.dumps(f"Rejected({rejected})", ensure_ascii=False)
    return f"{name} failed: CreateProcess {{ message: {message} }}"


def require_answer(turn: RunningTurn, row: Item, prepared: PreparedCall, request: ClientRequest) -> dict[str, Any]:
    """Return what a client answered. Errors: AwaitingAnswer: the answer is still to come, and the turn is parked."""
    approval = turn.store.approvals.find_for_item(row.id)
    if approval is None or approval.state != "answered":
        turn.transcript.publish_item_started(row, prepared)
        return park(turn, row, request.method, request.params, ())
    return dict(approval.answer or {})


def park(turn: RunningTurn, row: Item, method: str, params: Mapping[str, object], keys: Sequence[str]) -> NoReturn:
    """Send a request to the thread's clients, and release the turn until the answer comes.

    Errors: AwaitingAnswer; Interrupted: somebody has interrupted the turn, so that it asks nothing more
    """
    expires_in_ms = round(turn.config.server.approval_timeout_seconds * 1000)
    with KeptCommands(turn) as kept:
        turn.transcript.park(row, method, params, keys, expires_in_ms, kept.rows, kept.lease_ms)
        kept.stored = True
    logger.info("turn parked, waiting for an answer", extra={"turn_id": row.turn_id, "method": method})
    telemetry.turn_parked(method)
    raise AwaitingAnswer


def decide(
    store: Store, owner: str, thread_id: str, prepared: PreparedCall, policy: Any, *, may_escalate: bool
) -> Decision | ApprovalRequest:
    """Return the decision about a call, or the request to a person that it needs.

    policy:       approvalPolicy of PROTOCOL section 4
    may_escalate: whether the server lets anybody leave the sandbox
    """
    requirement = prepared.requirement
    if requirement is None:
        return Decision(allowed=True)
    allowed = Decision(allowed=True, escalated=requirement.escalates)
    if requirement.escalates and not may_escalate:
        return Decision(
            False, explanation="This server does not let anything run outside of the sandbox. It was not run."
        )
    approval = store.approvals.find_for_item(prepared.call.item_id)
    if approval is not None and approval.state == "answered":
        return replace(_read_answer(store, approval, prepared, allowed), source="user")
    if not may_ask(policy, "sandbox_approval"):  # to leave the sandbox, or to write outside of it by a patch
        if requirement.escalates:
            return Decision(False, explanation="The approval policy rules out leaving the sandbox. It was not run.")
        return allowed
    if policy != "untrusted" and not requirement.escalates:
        return allowed
    session_keys = store.approvals.session_keys(thread_id)
    if requirement.keys and session_keys.issuperset(requirement.keys):
        return replace(allowed, decision=FOR_SESSION, source="user")
    rules = store.approvals.rules(owner)
    if rules and requirement.shell_line is not None and shell_words.is_allowed(requirement.shell_line, rules):
        return allowed
    return _build_request(prepared)


def _build_request(prepared: PreparedCall) -> ApprovalRequest:
    requirement, item = prepared.requirement, prepared.item
    assert requirement is not None
    assert item is not None
    if item["type"] == "fileChange":
        return ApprovalRequest(PATCH, {"reason": requirement.reason, "grantRoot": None}, requirement.keys)
    command = cast(CommandExecution, item)
    decisions: list[ApprovalDecision] = ["accept", "acceptForSession"]
    if requirement.amendment:
        decisions.append({"acceptWithExecpolicyAmendment": {"execpolicy_amendment": list(requirement.amendment)}})
    params: CommandApprovalParams = {
        "kind": "command",
        "environmentId": "local",
        "command": command["command"],
        "cwd": command["cwd"],
        "commandActions": command["commandActions"],
        "availableDecisions": [*decisions, "decline", "cancel"],
    }
    if requirement.reason:
        params["reason"] = requirement.reason
    if requirement.amendment:
        params["proposedExecpolicyAmendment"] = list(requirement.amendment)
    return ApprovalRequest(COMMAND, params, requirement.keys)


def _read_answer(store: Store, approval: Approval, prepared: PreparedCall, allowed: Decision) -> Decision:
    """Return what a client's answer means. Anything other than an explicit approval is a denial."""
    match approval.decision:
        case "accept":
            return allowed
        case "acceptForSession":
            return replace(allowed, decision=FOR_SESSION)
        case {"acceptWithExecpolicyAmendment": {"execpolicy_amendment": [str(), *_] as prefix}}:
            requirement = prepared.requirement
            if requirement and requirement.amendment and _starts_with(requirement.amendment, prefix):
                store.approvals.add_rule(approval.owner, prefix)
                return replace(allowed, decision="approved_with_amendment")
            return _no_decision(prepared)
        case "decline":
            return Decision(
                False, explanation="The user declined this. It was not run. Ask them how to go on, or do it otherwise."
            )
        case "cancel":
            return Decision(
                False,
                explanation="The user declined this and stopped the turn. It was not run.",
                cancelled=True,
                decision="abort",
            )
        case _:
            return _no_decision(prepared)


def _no_decision(prepared: PreparedCall) -> Decision:
    """Return the denial for an answer that is no decision."""
    is_patch = prepared.item is not None and prepared.item["type"] == "fileChange"
    explanation = "The approval request was not answered with a decision. It was not run."
    return Decision(False, explanation=explanation, status="declined" if is_patch else "failed")  # PROTOCOL 8.1


def _starts_with(words: tuple[str, ...], prefix: list[str]) -> bool:
    return bool(prefix) and list(words[: len(prefix)]) == prefix
