"""Approval requests: when a person must be asked, and what each decision does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from shared.protocol.sandbox_modes import SANDBOX_MODES
from shared.store.approvals import Approval
from shared.store.tables import turns
from shared.store.threads import Thread
from shared.store.turns import Claim
from tests.support import order
from tests.support.model_server import YIELD_MS
from tests.support.wait import until
from tests.workers.agent.test_turn import outputs, types
from tests.workers.builders import Bench
from workers import sweep
from workers.workspace.folders import workspace_for

COMMAND = "[[run echo ran >> log]]"
PATCH = "[[patch *** Begin Patch\n*** Add File: log\n+ran\n*** End Patch]]"
LEAVES = {"sandbox_permissions": "require_escalated", "justification": "May I?"}
ESCALATED = json.dumps(
    {
        "cmd": "echo ran >> log",
        "sandbox_permissions": "require_escalated",
        "justification": "May I?",
        "prefix_rule": ["echo", "ran"],
    }
)
MKDIR = json.dumps({"cmd": "mkdir -p made", "sandbox_permissions": "require_escalated", "prefix_rule": ["mkdir", "-p"]})
CALLS = {
    "command": COMMAND,
    "patch": PATCH,
    "escalated": f"[[tool exec_command {ESCALATED}]]",
    "mkdir": f"[[tool exec_command {MKDIR}]]",
}


def pending(bench: Bench, thread: Thread) -> Approval:
    (approval,) = bench.workers[0].store.approvals.pending(thread.id, thread.owner)
    return approval


def answer(bench: Bench, thread: Thread, result: dict[str, Any]) -> None:
    assert bench.workers[0].store.turns.answer(pending(bench, thread).id, thread.owner, result) is not None
    bench.run()


def ran(bench: Bench) -> int:
    """Return how often the command or patch was carried out."""
    log = bench.cwd / "log"
    return log.read_text().count("ran") if log.exists() else 0


@pytest.mark.parametrize(
    ("policy", "call", "asks", "runs"),
    [
        ("never", "command", False, 1),
        ("never", "patch", False, 1),
        ("never", "escalated", False, 0),
        ("on-request", "command", False, 1),
        ("on-request", "patch", False, 1),
        ("on-request", "escalated", True, 0),
        ("untrusted", "command", True, 0),
        ("untrusted", "patch", True, 0),
        ("untrusted", "escalated", True, 0),
    ],
)
def test_policy_decides_when_a_person_must_approve(bench: Bench, policy: str, call: str, asks: bool, runs: int) -> None:
    thread = bench.thread(approvalPolicy=policy)

    turn = bench.run_turn(thread, CALLS[call])

    assert (turn.phase == "parked") is asks
    assert ran(bench) == runs
    order.check(bench.events(thread))


DECISIONS: list[tuple[dict[str, Any], str, str, int, str]] = [
    # answer, call, status of the turn, runs, status of the item
    ({"decision": "accept"}, "command", "completed", 1, "completed"),
    ({"decision": "accept"}, "patch", "completed", 1, "completed"),
    ({"decision": "accept"}, "escalated", "completed", 1, "completed"),
    ({"decision": "acceptForSession"}, "command", "completed", 1, "completed"),
    ({"decision": "decline"}, "command", "completed", 0, "declined"),
    ({"decision": "decline"}, "patch", "completed", 0, "declined"),
    ({"decision": "cancel"}, "command", "interrupted", 0, "declined"),
    ({"decision": "perhaps"}, "command", "completed", 0, "failed"),
    ({"decision": {"accept": True}}, "command", "completed", 0, "failed"),
    ({"decision": ["accept"]}, "patch", "completed", 0, "declined"),
    ({"error": {"code": 1, "message": "no"}}, "command", "completed", 0, "failed"),
    ({}, "patch", "completed", 0, "declined"),
    (
        {"decision": {"acceptWithExecpolicyAmendment": {"execpolicy_amendment": ["rm"]}}},
        "escalated",
        "completed",
        0,
        "failed",
    ),
]


@pytest.mark.parametrize(("given", "call", "status", "runs", "shown"), DECISIONS)
def test_each_decision_ends_the_call_as_the_protocol_says(
    bench: Bench, given: dict[str, Any], call: str, status: str, runs: int, shown: str
) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    turn = bench.run_turn(thread, f"{CALLS[call]}[[say Then.]]")
    approval = pending(bench, thread)

    answer(bench, thread, given)

    events = bench.events(thread)
    seen = order.check(events)
    assert bench.turn(turn).status == status
    assert ran(bench) == runs
    assert bench.shown(thread)[1]["status"] == shown
    assert seen.asked == seen.resolved == {approval.id}
    if status == "completed":
        assert bench.shown(thread)[-1]["text"] == "Then."


def test_only_an_approved_escalation_leaves_the_sandbox(bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    thread = bench.thread(approvalPolicy="on-request")
    line = f"touch {outside}; echo ran >> log"

    bench.run_turn(thread, f"[[run {line}]]")
    assert (ran(bench), outside.exists()) == (1, False)
    bench.run_turn(thread, f"[[tool exec_command {json.dumps({'cmd': line} | LEAVES)}]]")
    answer(bench, thread, {"decision": "accept"})

    assert (ran(bench), outside.exists()) == (2, True)


def test_request_follows_its_item_and_lists_the_decisions(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="on-request")

    bench.run_turn(thread, CALLS["escalated"])

    events = bench.events(thread)
    assert order.methods(events)[-3:] == [
        "item/started commandExecution",
        "thread/status/changed active waitingOnApproval",
        "item/commandExecution/requestApproval",
    ]
    params = events[-1][1]
    assert params["reason"] == "May I?"
    assert params["requestId"] == pending(bench, thread).id
    assert params["availableDecisions"] == ["accept", "acceptForSession", "decline", "cancel"]


def test_accept_for_session_covers_later_calls(bench: Bench) -> None:
    thread, stranger = bench.thread(approvalPolicy="untrusted"), bench.thread(approvalPolicy="untrusted")

    bench.run_turn(thread, COMMAND)
    answer(bench, thread, {"decision": "acceptForSession"})
    again = bench.run_turn(thread, COMMAND)
    another = bench.run_turn(thread, "[[run echo ran twice >> log]]")
    elsewhere = bench.run_turn(stranger, COMMAND)

    assert (again.phase, another.phase, elsewhere.phase) == ("done", "parked", "parked")
    assert ran(bench) == 2


def test_hosted_users_cannot_approve_leaving_the_sandbox(bench: Bench) -> None:
    stranger = bench.thread(owner="stranger", approvalPolicy="on-request")
    own = workspace_for(bench.workers[0].config.server.workspaces_dir, "stranger", stranger.id)

    turn = bench.run_turn(stranger, CALLS["mkdir"], settings={"cwd": str(own)})

    assert (turn.phase, turn.status) == ("done", "completed")
    assert bench.workers[0].store.approvals.pending(stranger.id, "stranger") == []
    assert not (own / "made").exists()


def test_amendment_applies_to_all_threads_of_its_owner_only(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(server={"sandbox_modes": SANDBOX_MODES})
    thread, same = bench.thread(approvalPolicy="on-request"), bench.thread(approvalPolicy="on-request")
    stranger = bench.thread(owner="stranger", approvalPolicy="on-request")
    own = workspace_for(bench.workers[0].config.server.workspaces_dir, "stranger", stranger.id)
    bench.run_turn(thread, CALLS["mkdir"])
    params = pending(bench, thread).params
    assert params["proposedExecpolicyAmendment"] == ["mkdir", "-p"]
    offered = params["availableDecisions"][2]

    answer(bench, thread, {"decision": offered})

    assert (bench.cwd / "made").is_dir()
    assert bench.run_turn(same, CALLS["mkdir"]).phase == "done"
    assert bench.run_turn(stranger, CALLS["mkdir"], settings={"cwd": str(own)}).phase == "parked"


def test_invalid_answer_is_a_denial_and_later_turns_work(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    bench.run_turn(thread, COMMAND)
    answer(bench, thread, {"decision": 5})

    bench.run_turn(thread, COMMAND)
    answer(bench, thread, {"decision": "accept"})

    assert ran(bench) == 1


def test_parked_turn_occupies_no_slot(open_bench: Callable[..., Bench]) -> None:
    from shared.config import Limits

    bench = open_bench(limits=Limits(turns_at_once=1))
    waiting, other = bench.thread(approvalPolicy="untrusted"), bench.thread()

    parked = bench.run_turn(waiting, COMMAND)
    ended = bench.run_turn(other, "hello")

    assert (parked.phase, ended.phase) == ("parked", "done")
    assert bench.workers[0].running == {}


def test_each_of_several_calls_needs_its_own_approval(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    turn = bench.run_turn(thread, f"{COMMAND}+[[run echo ran too >> log]]")

    answer(bench, thread, {"decision": "accept"})
    assert ran(bench) == 0  # both run side by side, once both are decided
    answer(bench, thread, {"decision": "accept"})

    seen = order.check(bench.events(thread))
    assert (bench.turn(turn).status, ran(bench), len(seen.resolved)) == ("completed", 2, 2)


def test_interrupt_resolves_the_pending_request(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    turn = bench.run_turn(thread, COMMAND)
    approval = pending(bench, thread)

    bench.workers[0].store.turns.interrupt(thread.id, thread.owner, turn.id)
    bench.sweep()
    bench.run_turn(thread, "hello")

    seen = order.check(bench.events(thread))
    assert seen.turns[turn.id] == "interrupted"
    assert seen.resolved == {approval.id}
    assert bench.workers[0].store.turns.answer(approval.id, thread.owner, {"decision": "accept"}) is None
    assert ran(bench) == 0
    assert "not run" in outputs(bench)[0]


def test_an_interrupt_just_before_parking_ends_the_turn(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = bench.workers[0]
    thread = bench.thread(approvalPolicy="untrusted")
    park = worker.store.claims.park

    def interrupt_then_park(claim: Claim, *args: Any, **values: Any) -> Approval | None:
        worker.store.turns.interrupt(thread.id, thread.owner, claim.turn_id)
        return park(claim, *args, **values)

    monkeypatch.setattr(worker.store.claims, "park", interrupt_then_park)
    turn = bench.run_turn(thread, COMMAND)

    assert (turn.phase, turn.status) == ("done", "interrupted")
    bench.settle()
    seen = order.check(bench.events(thread))
    assert (seen.turns, seen.resolved, ran(bench)) == ({turn.id: "interrupted"}, set(), 0)
    assert bench.run_turn(thread, "hello").status == "completed"
    assert "not run" in outputs(bench)[0]


def test_the_sweep_ends_and_publishes_what_is_parked_and_interrupted(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    turn = bench.run_turn(thread, COMMAND)
    approval = pending(bench, thread)
    with bench.workers[0].store.database.write() as connection:  # as a version before 0.1.0 left it
        connection.execute(update(turns).where(turns.c.id == turn.id).values(interrupted=True))

    sweep.end_interrupted(bench.workers[0])

    seen = order.check(bench.events(thread))
    assert (seen.turns, seen.resolved) == ({turn.id: "interrupted"}, {approval.id})


def test_expired_request_is_declined(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(server={"approval_timeout_seconds": -1.0})
    thread = bench.thread(approvalPolicy="untrusted")
    turn = bench.run_turn(thread, COMMAND)

    sweep.expire(bench.workers[0])
    bench.run()

    assert bench.turn(turn).status == "completed"
    assert types(bench.shown(thread)) == ["userMessage", "commandExecution", "agentMessage"]
    assert bench.shown(thread)[1]["status"] == "declined"


def test_patch_is_not_applied_when_its_files_changed_after_the_request(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    (bench.cwd / "f").write_text("old\n")
    bench.run_turn(thread, "[[patch *** Begin Patch\n*** Update File: f\n@@\n-old\n+new\n*** End Patch]]")

    (bench.cwd / "f").write_text("between\nold\n")
    answer(bench, thread, {"decision": "accept"})

    assert (bench.cwd / "f").read_text() == "between\nold\n"
    assert bench.shown(thread)[1]["status"] == "failed"


def test_running_commands_run_on_while_the_turn_waits(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="on-request")
    call = {"cmd": "echo up; while [ ! -e go ]; do sleep 0.02; done; echo went", "login": False, "yield_time_ms": 250}
    look = f'[[tool write_stdin {{{{"session_id": {{}}, "yield_time_ms": {YIELD_MS}}}}}]]'
    turn = bench.begin(thread, f"[[tool exec_command {json.dumps(call)}]]" + CALLS["escalated"] + look.format(1003))
    bench.run()
    store, other = bench.workers[0].store, bench.worker()
    assert bench.turn(turn).phase == "parked"
    (terminal,) = store.terminals.of_thread(thread.id, thread.owner)
    assert terminal.process_id == 1003

    (approval,) = store.approvals.pending(thread.id, thread.owner)
    store.turns.answer(approval.id, thread.owner, {"decision": "decline"})
    run = bench.start_run(other)
    until(lambda: [row for row in bench.items(thread) if row.call_id == "call_3" and row.begun_at_ms])
    (bench.cwd / "go").touch()
    run.join()
    bench.settle()

    assert bench.turn(turn).status == "completed"
    begun, _, looked = outputs(bench)
    unread = "up\nwent\n".removeprefix(begun.partition("\nOutput:\n")[2])
    assert looked.endswith(f"Process exited with code 0\nOutput:\n{unread}")
    order.check(bench.events(thread), sessions=True)
    assert [item.get("status") for item in bench.shown(thread)[1:3]] == ["completed", "declined"]


def granular(**kinds: bool) -> dict[str, Any]:
    return {"granular": kinds}


@pytest.mark.parametrize(
    ("policy", "call", "asks", "runs"),
    [
        (granular(sandbox_approval=True), "escalated", True, 0),
        (granular(sandbox_approval=False), "escalated", False, 0),
        (granular(), "escalated", False, 0),
        (granular(), "command", False, 1),
        (granular(sandbox_approval=True), "patch", False, 1),
    ],
)
def test_granular_policy_allows_requests_kind_by_kind(
    bench: Bench, policy: dict[str, Any], call: str, asks: bool, runs: int
) -> None:
    thread = bench.thread(approvalPolicy=policy)

    turn = bench.run_turn(thread, CALLS[call])

    assert (turn.phase == "parked") is asks
    assert ran(bench) == runs
    order.check(bench.events(thread))


def test_earlier_permissions_need_no_reviewer(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    bench.run_turn(thread, COMMAND)
    answer(bench, thread, {"decision": "acceptForSession"})

    bench.run_turn(thread, COMMAND, settings={"approvalsReviewer": "auto_review"})

    assert ran(bench) == 2


@pytest.mark.parametrize(
    ("arguments", "asks"),
    [
        ({"cmd": "mkdir -p one"}, False),
        ({"cmd": "mkdir -p one && echo made"}, False),
        ({"cmd": "mkdir -p one; mkdir -p two"}, False),
        ({"cmd": "mkdir -p one && touch two"}, True),
        ({"cmd": "mkdir -p $(touch two)"}, True),
        ({"cmd": "mkdir -p one > two"}, True),
        ({"cmd": "mkdir one"}, True),
        ({"cmd": "mkdir -p one", "shell": "./mkdir"}, True),
    ],
)
def test_rule_covers_a_line_when_it_covers_all_its_commands(
    bench: Bench, arguments: dict[str, Any], asks: bool
) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    bench.workers[0].store.approvals.add_rule(thread.owner, ["mkdir", "-p"])

    turn = bench.run_turn(thread, f"[[tool exec_command {json.dumps(arguments)}]]")

    assert (turn.phase == "parked") is asks
