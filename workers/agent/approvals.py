"""Whether a call may run: the policy, what was allowed before, or a question to a person (PROTOCOL section 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared.store import Store
from shared.store.approvals import Approval
from workers.tools.base import Plan

COMMAND = "item/commandExecution/requestApproval"
PATCH = "item/fileChange/requestApproval"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a call.

    allowed:   it runs; outside of the sandbox when escalated
    told:      why not, for the model
    status:    how the item of a refused call ends
    cancelled: the turn ends as interrupted
    """

    allowed: bool
    escalated: bool = False
    told: str = ""
    status: str = "declined"
    cancelled: bool = False


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
        return _judge(store, asked, plan, allowed)
    if policy == "never":
        if question.escalates:
            return Verdict(
                False, told="The approval policy is `never`: leaving the sandbox is not possible. It was not run."
            )
        return allowed
    if policy != "untrusted" and not question.escalates:
        return allowed
    known = store.approvals.session_keys(thread_id)
    if question.keys and known.issuperset(question.keys):
        return allowed
    if question.amendment and any(_starts(question.amendment, prefix) for prefix in store.approvals.rules(owner)):
        return allowed
    return _ask(plan)


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
        case "accept" | "acceptForSession":
            return allowed
        case {"acceptWithExecpolicyAmendment": {"execpolicy_amendment": [str(), *_] as prefix}}:
            if plan.question and plan.question.amendment and _starts(plan.question.amendment, prefix):
                store.approvals.add_rule(asked.owner, prefix)
                return allowed
            return _no_decision(plan)
        case "decline":
            return Verdict(
                False, told="The user declined this. It was not run. Ask them how to go on, or do it otherwise."
            )
        case "cancel":
            return Verdict(False, told="The user declined this and stopped the turn. It was not run.", cancelled=True)
        case _:
            return _no_decision(plan)


def _no_decision(plan: Plan) -> Verdict:
    status = "declined" if plan.item and plan.item["type"] == "fileChange" else "failed"  # PROTOCOL 8.1
    return Verdict(False, told="The approval request was not answered with a decision. It was not run.", status=status)


def _starts(words: tuple[str, ...], prefix: list[str]) -> bool:
    return bool(prefix) and list(words[: len(prefix)]) == prefix
