"""Whether a call may run: the policy, what was allowed before, or a question to a person (PROTOCOL section 8)."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from shared.clock import now_ms
from shared.ids import new_id
from shared.store import Store
from shared.store.approvals import Approval
from workers.tools import shell_words
from workers.tools.base import Plan

COMMAND = "item/commandExecution/requestApproval"
PATCH = "item/fileChange/requestApproval"
FOR_SESSION = "approved_for_session"
NOBODY_ASKED = (
    "This thread's approvals go to an automatic reviewer, and this server has none: what would need approval is "
    "declined. It was not run. Do it otherwise, or have a person take the approvals over (approvalsReviewer `user`)."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a call.

    allowed:   it runs; outside of the sandbox when escalated
    told:      why not, for the model
    status:    how the item of a refused call ends
    cancelled: the turn ends as interrupted
    decision:  in one word, for telemetry; source: whose it is, `config` or `user`
    """

    allowed: bool
    escalated: bool = False
    told: str = ""
    status: str = "declined"
    cancelled: bool = False
    decision: str = ""
    source: str = "config"

    def __post_init__(self) -> None:
        if not self.decision:
            object.__setattr__(self, "decision", "approved" if self.allowed else "denied")


@dataclass(frozen=True, slots=True)
class Ask:
    """A person must be asked first."""

    method: str
    params: dict[str, Any]
    keys: tuple[str, ...]


def decide(store: Store, owner: str, thread_id: str, plan: Plan, policy: Any, *, may_escalate: bool) -> Verdict | Ask:
    """policy: approvalPolicy of PROTOCOL section 4; may_escalate: whether anybody may leave the sandbox here."""
    question = plan.question
    if question is None:
        return Verdict(allowed=True)
    allowed = Verdict(allowed=True, escalated=question.escalates)
    if question.escalates and not may_escalate:
        return Verdict(False, told="This server does not let anything run outside of the sandbox. It was not run.")
    asked = store.approvals.for_item(plan.call.item_id)
    if asked is not None and asked.state == "answered":
        return replace(_judge(store, asked, plan, allowed), source="user")
    if not _may_ask(policy):
        if question.escalates:
            return Verdict(False, told="The approval policy rules out leaving the sandbox. It was not run.")
        return allowed
    if policy != "untrusted" and not question.escalates:
        return allowed
    known = store.approvals.session_keys(thread_id)
    if question.keys and known.issuperset(question.keys):
        return replace(allowed, decision=FOR_SESSION, source="user")
    rules = store.approvals.rules(owner)
    if rules and question.line is not None and shell_words.is_allowed(question.line, rules):
        return allowed
    return _ask(plan)


def _may_ask(policy: Any) -> bool:
    """Whether the policy lets a command ask to leave the sandbox, or a patch to write outside of it."""
    match policy:
        case {"granular": dict(kinds)}:
            return kinds.get("sandbox_approval") is True
    return bool(policy != "never")


def review_events(plan: Plan, started_at_ms: int) -> list[tuple[str, dict[str, Any]]]:
    """What clients are told of a question that goes to no person (PROTOCOL 8.5): asked, denied. Less their ids."""
    assert plan.item is not None
    review = {"status": "inProgress", "riskLevel": None, "userAuthorization": None, "rationale": None}
    begun = {
        "reviewId": new_id(),
        "targetItemId": plan.call.item_id,
        "startedAtMs": started_at_ms,
        "review": review,
        "action": _action(plan.item),
    }
    over = {"completedAtMs": now_ms(), "decisionSource": "agent"}
    denied = {**begun, **over, "review": {**review, "status": "denied", "rationale": NOBODY_ASKED}}
    return [("item/autoApprovalReview/started", begun), ("item/autoApprovalReview/completed", denied)]


def _action(item: dict[str, Any]) -> dict[str, Any]:
    if item["type"] == "fileChange":
        files = [change["path"] for change in item["changes"]]
        return {
            "type": "applyPatch",
            "cwd": os.path.commonpath([os.path.dirname(path) for path in files]),
            "files": files,
        }
    return {"type": "command", "source": "unifiedExec", "command": item["command"], "cwd": item["cwd"]}


def _ask(plan: Plan) -> Ask:
    question, item = plan.question, plan.item
    assert question is not None
    assert item is not None
    if item["type"] == "fileChange":
        return Ask(PATCH, {"reason": question.why, "grantRoot": None}, question.keys)
    decisions: list[Any] = ["accept", "acceptForSession"]
    params: dict[str, Any] = {
        "kind": "command",
        "environmentId": "local",
        "command": item["command"],
        "cwd": item["cwd"],
        "commandActions": item["commandActions"],
    }
    if question.why:
        params["reason"] = question.why
    if question.amendment:
        params["proposedExecpolicyAmendment"] = list(question.amendment)
        decisions.append({"acceptWithExecpolicyAmendment": {"execpolicy_amendment": list(question.amendment)}})
    params["availableDecisions"] = [*decisions, "decline", "cancel"]
    return Ask(COMMAND, params, question.keys)


def _judge(store: Store, asked: Approval, plan: Plan, allowed: Verdict) -> Verdict:
    """What a client's answer means; whatever is not a clear yes is a no."""
    match asked.decision:
        case "accept":
            return allowed
        case "acceptForSession":
            return replace(allowed, decision=FOR_SESSION)
        case {"acceptWithExecpolicyAmendment": {"execpolicy_amendment": [str(), *_] as prefix}}:
            if plan.question and plan.question.amendment and _starts(plan.question.amendment, prefix):
                store.approvals.add_rule(asked.owner, prefix)
                return replace(allowed, decision="approved_with_amendment")
            return _no_decision(plan)
        case "decline":
            return Verdict(
                False, told="The user declined this. It was not run. Ask them how to go on, or do it otherwise."
            )
        case "cancel":
            return Verdict(
                False,
                told="The user declined this and stopped the turn. It was not run.",
                cancelled=True,
                decision="abort",
            )
        case _:
            return _no_decision(plan)


def _no_decision(plan: Plan) -> Verdict:
    status = "declined" if plan.item and plan.item["type"] == "fileChange" else "failed"  # PROTOCOL 8.1
    return Verdict(False, told="The approval request was not answered with a decision. It was not run.", status=status)


def _starts(words: tuple[str, ...], prefix: list[str]) -> bool:
    return bool(prefix) and list(words[: len(prefix)]) == prefix
