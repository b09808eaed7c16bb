"""Automatic reviews over the wire, as recorded from the original (0.171), and the denial that a user lifts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.deployment import Deployment
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.turns import check_order, of_thread, run_turn, start_thread, stored_turn

ALLOW = '{"risk_level":"low","user_authorization":"high","outcome":"allow","rationale":"fine"}'
DENY = '{"risk_level":"high","user_authorization":"low","outcome":"deny","rationale":"too risky"}'
PENDING = {"status": "inProgress", "riskLevel": None, "userAuthorization": None, "rationale": None}
APPROVED = {"status": "approved", "riskLevel": "low", "userAuthorization": "high", "rationale": "fine"}
DENIED = {"status": "denied", "riskLevel": "high", "userAuthorization": "low", "rationale": "too risky"}
FAILED_TEXT = "Automatic approval review failed: guardian assessment was not valid JSON"
FAILED = {"status": "denied", "riskLevel": None, "userAuthorization": None, "rationale": FAILED_TEXT}
IDS = {"threadId", "turnId", "startedAtMs", "reviewId", "targetItemId", "review", "action"}


@pytest.fixture
def reviewed(deployment: Deployment) -> Iterator[Deployment]:
    yield deployment
    deployment.model.verdicts.clear()


def escalated(line: str) -> str:
    call = {"cmd": line, "login": False, "sandbox_permissions": "require_escalated", "justification": "May I?"}
    return f"[[tool exec_command {json.dumps(call)}]]"


def run_reviewed(deployment: Deployment, client: ProtocolClient, thread_id: str, script: str) -> list[dict[str, Any]]:
    """Run a turn; return the frames about its call and its review, in order."""
    at = len(client.received)
    run_turn(client, thread_id, f"{script}[[say Then.]]")
    frames = of_thread(client.received[at:], thread_id)
    check_order(frames)
    methods = ("item/autoApprovalReview/started", "guardianWarning", "item/autoApprovalReview/completed")
    call = ("item/started", "item/completed")
    return [
        frame
        for frame in frames
        if frame["method"] in methods
        or (frame["method"] in call and frame["params"]["item"]["type"] in ("commandExecution", "fileChange"))
    ]


@pytest.mark.parametrize(
    ("verdict", "review", "warning", "status"),
    [
        (ALLOW, APPROVED, "Automatic approval review approved (risk: low, authorization: high): fine", "completed"),
        (DENY, DENIED, "Automatic approval review denied (risk: high, authorization: low): too risky", "declined"),
        ("fine", FAILED, FAILED_TEXT, "declined"),
    ],
)
def test_a_review_of_a_command_is_as_recorded(
    reviewed: Deployment, verdict: str, review: dict[str, Any], warning: str, status: str
) -> None:
    reviewed.model.verdicts.append(verdict)
    client = reviewed.connect()
    thread_id = start_thread(client, approvalPolicy="on-request", approvalsReviewer="auto_review")

    begun, started, warned, ended, completed = run_reviewed(reviewed, client, thread_id, escalated("echo ran"))

    item = begun["params"]["item"]
    assert (begun["method"], item["source"], item["processId"], item["status"]) == (
        "item/started",
        "agent",
        None,
        "inProgress",
    )
    action = {"type": "command", "source": "unifiedExec", "command": item["command"], "cwd": item["cwd"]}
    assert started["method"] == "item/autoApprovalReview/started"
    first, last = started["params"], ended["params"]
    assert first.keys() - {"eventId"} == IDS
    assert (first["targetItemId"], first["review"], first["action"]) == (item["id"], PENDING, action)
    assert warned["params"] == {**warned["params"], "threadId": thread_id, "message": warning}
    assert last.keys() - {"eventId"} == IDS | {"completedAtMs", "decisionSource"}
    assert (last["reviewId"], last["review"], last["decisionSource"]) == (first["reviewId"], review, "agent")
    assert completed["params"]["item"]["status"] == status


def test_a_review_of_a_patch_names_its_files(reviewed: Deployment) -> None:
    reviewed.model.verdicts.append(DENY)
    client = reviewed.connect()
    thread_id = start_thread(client, approvalPolicy="untrusted", approvalsReviewer="auto_review")
    cwd = client.request("thread/read", {"threadId": thread_id})["thread"]["cwd"]

    _, started, *_ = run_reviewed(
        reviewed, client, thread_id, "[[patch *** Begin Patch\n*** Add File: made\n+x\n*** End Patch]]"
    )

    assert started["params"]["action"] == {"type": "applyPatch", "cwd": cwd, "files": [f"{cwd}/made"]}


def test_a_user_lifts_a_denial_and_the_next_review_reads_it(reviewed: Deployment) -> None:
    reviewed.model.verdicts.extend([DENY, ALLOW])
    client = reviewed.connect()
    thread_id = start_thread(client, approvalPolicy="on-request", approvalsReviewer="auto_review")
    _, _, _, denied, _ = run_reviewed(reviewed, client, thread_id, escalated("echo ran"))
    seen = denied["params"]
    action = {**seen["action"], "source": "unified_exec"}
    event = {
        "id": seen["reviewId"],
        "target_item_id": seen["targetItemId"],
        "turn_id": seen["turnId"],
        "started_at_ms": seen["startedAtMs"],
        "completed_at_ms": seen["completedAtMs"],
        "status": "denied",
        "risk_level": "high",
        "user_authorization": "low",
        "rationale": "too risky",
        "decision_source": "agent",
        "action": action,
    }

    def approve(changed: dict[str, Any], at: str = thread_id) -> Any:
        return client.request("thread/approveGuardianDeniedAction", {"threadId": at, "event": {**event, **changed}})

    with pytest.raises(RpcError) as refused:
        approve({"action": seen["action"]})
    assert (refused.value.code, refused.value.message) == (
        -32600,
        "invalid Guardian denial event: unknown variant `unifiedExec`, expected `shell` or `unified_exec`",
    )
    with pytest.raises(RpcError, match="no review with this id"):
        approve({"id": seen["turnId"]})
    with pytest.raises(RpcError, match="no review with this id"):
        approve({}, at=start_thread(client))
    assert approve({"action": {**action, "command": "echo another"}}) == {}
    *_, completed = run_reviewed(reviewed, client, thread_id, escalated("echo ran"))

    assert completed["params"]["item"]["status"] == "completed"
    approved = json.dumps({"action": action, "outcome": "allowed"}, indent=2)
    message = (
        "The user has manually approved a specific action that was previously `Rejected`.\n\nTreat this as approval to "
        "perform that exact action in the same context in which it was originally requested.\nDo not assume this also "
        f"authorizes similar operations with different payloads.\n\nApproved action:\n{approved}"
    )
    body = reviewed.model.requests[-1].body
    assert message in [item["content"][0]["text"] for item in body["input"] if item.get("role") == "developer"]
    history = json.loads(reviewed.model.reviews()[-1].body["input"][1]["content"][1]["text"])
    assert {"from": "developer", "text": message} in history
    turn = client.request("thread/read", {"threadId": thread_id, "includeTurns": True})["thread"]["turns"][-1]
    assert stored_turn(client, thread_id, turn["id"])["items"][1]["exitCode"] == 0
