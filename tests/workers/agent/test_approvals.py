"""Questions to a person: when they are asked, and what each answer does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from shared.config import SANDBOX_MODES
from shared.store.approvals import Approval
from shared.store.threads import Thread
from tests.support import order
from tests.workers.agent.test_turn import outputs, types
from tests.workers.builders import Bench
from workers.agent import sweep
from workers.workspace import workspace_for

COMMAND = "[[run echo ran >> log]]"
PATCH = "[[patch *** Begin Patch\n*** Add File: log\n+ran\n*** End Patch]]"
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
    """How often the tool did its work."""
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
def test_when_a_person_is_asked(bench: Bench, policy: str, call: str, asks: bool, runs: int) -> None:
    thread = bench.thread(approvalPolicy=policy)

    turn = bench.say(thread, CALLS[call])

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
def test_what_an_answer_does(
    bench: Bench, given: dict[str, Any], call: str, status: str, runs: int, shown: str
) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    turn = bench.say(thread, f"{CALLS[call]}[[say Then.]]")
    asked = pending(bench, thread)

    answer(bench, thread, given)

    events = bench.events(thread)
    seen = order.check(events)
    assert bench.turn(turn).status == status
    assert ran(bench) == runs
    assert bench.shown(thread)[1]["status"] == shown
    assert seen.asked == seen.resolved == {asked.id}
    if status == "completed":
        assert bench.shown(thread)[-1]["text"] == "Then."


def test_a_question_comes_behind_its_item_and_says_what_is_offered(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="on-request")

    bench.say(thread, CALLS["escalated"])

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


def test_what_was_accepted_for_the_session_is_not_asked_again(bench: Bench) -> None:
    thread, stranger = bench.thread(approvalPolicy="untrusted"), bench.thread(approvalPolicy="untrusted")

    bench.say(thread, COMMAND)
    answer(bench, thread, {"decision": "acceptForSession"})
    again = bench.say(thread, COMMAND)
    another = bench.say(thread, "[[run echo ran twice >> log]]")
    elsewhere = bench.say(stranger, COMMAND)

    assert (again.phase, another.phase, elsewhere.phase) == ("done", "parked", "parked")
    assert ran(bench) == 2


def test_users_who_share_the_host_cannot_leave_the_sandbox_by_their_own_approval(bench: Bench) -> None:
    stranger = bench.thread(owner="stranger", approvalPolicy="on-request")
    own = workspace_for(bench.workers[0].config.server.workspaces_dir, "stranger", stranger.id)

    turn = bench.say(stranger, CALLS["mkdir"], settings={"cwd": str(own)})

    assert (turn.phase, turn.status) == ("done", "completed")
    assert bench.workers[0].store.approvals.pending(stranger.id, "stranger") == []
    assert not (own / "made").exists()


def test_an_amendment_holds_for_all_threads_of_its_owner_and_for_no_one_else(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(server={"sandbox_modes": SANDBOX_MODES})
    thread, same = bench.thread(approvalPolicy="on-request"), bench.thread(approvalPolicy="on-request")
    stranger = bench.thread(owner="stranger", approvalPolicy="on-request")
    own = workspace_for(bench.workers[0].config.server.workspaces_dir, "stranger", stranger.id)
    bench.say(thread, CALLS["mkdir"])
    params = pending(bench, thread).params
    assert params["proposedExecpolicyAmendment"] == ["mkdir", "-p"]
    offered = params["availableDecisions"][2]

    answer(bench, thread, {"decision": offered})

    assert (bench.cwd / "made").is_dir()
    assert bench.say(same, CALLS["mkdir"]).phase == "done"
    assert bench.say(stranger, CALLS["mkdir"], settings={"cwd": str(own)}).phase == "parked"


def test_an_answer_that_makes_no_sense_does_not_spoil_later_turns(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    bench.say(thread, COMMAND)
    answer(bench, thread, {"decision": 5})

    bench.say(thread, COMMAND)
    answer(bench, thread, {"decision": "accept"})

    assert ran(bench) == 1


def test_a_parked_turn_holds_no_slot(open_bench: Callable[..., Bench]) -> None:
    from shared.config import Limits

    bench = open_bench(limits=Limits(turns_at_once=1))
    waiting, other = bench.thread(approvalPolicy="untrusted"), bench.thread()

    parked = bench.say(waiting, COMMAND)
    ended = bench.say(other, "hello")

    assert (parked.phase, ended.phase) == ("parked", "done")
    assert bench.workers[0].running == {}


def test_each_of_several_calls_is_asked_about(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    turn = bench.say(thread, f"{COMMAND}+[[run echo ran too >> log]]")

    answer(bench, thread, {"decision": "accept"})
    assert ran(bench) == 1
    answer(bench, thread, {"decision": "accept"})

    seen = order.check(bench.events(thread))
    assert (bench.turn(turn).status, ran(bench), len(seen.resolved)) == ("completed", 2, 2)


def test_a_stop_drops_the_question(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    turn = bench.say(thread, COMMAND)
    asked = pending(bench, thread)

    bench.workers[0].store.turns.interrupt(thread.id, thread.owner, turn.id)
    bench.sweep()
    bench.say(thread, "hello")

    seen = order.check(bench.events(thread))
    assert seen.turns[turn.id] == "interrupted"
    assert seen.resolved == {asked.id}
    assert bench.workers[0].store.turns.answer(asked.id, thread.owner, {"decision": "accept"}) is None
    assert ran(bench) == 0
    assert "not run" in outputs(bench)[0]


def test_a_question_that_nobody_answers_is_declined_in_the_end(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(server={"approval_timeout_seconds": -1.0})
    thread = bench.thread(approvalPolicy="untrusted")
    turn = bench.say(thread, COMMAND)

    sweep.expire(bench.workers[0])
    bench.run()

    assert bench.turn(turn).status == "completed"
    assert types(bench.shown(thread)) == ["userMessage", "commandExecution", "agentMessage"]
    assert bench.shown(thread)[1]["status"] == "declined"


def test_a_patch_whose_files_changed_meanwhile_is_not_applied(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    (bench.cwd / "f").write_text("old\n")
    bench.say(thread, "[[patch *** Begin Patch\n*** Update File: f\n@@\n-old\n+new\n*** End Patch]]")

    (bench.cwd / "f").write_text("between\nold\n")
    answer(bench, thread, {"decision": "accept"})

    assert (bench.cwd / "f").read_text() == "between\nold\n"
    assert bench.shown(thread)[1]["status"] == "failed"


def test_a_command_that_goes_on_ends_before_a_person_is_asked(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="on-request")
    start = '[[tool exec_command {"cmd": "touch started; sleep 60", "yield_time_ms": 250}]]'

    bench.say(thread, start + CALLS["escalated"])
    answer(bench, thread, {"decision": "decline"})

    order.check(bench.events(thread), sessions=True)
    assert [item.get("status") for item in bench.shown(thread)[1:3]] == ["failed", "declined"]
    assert "stopped by the turn waiting for an answer" in json.dumps(bench.model.requests[-1].body["input"])


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
def test_a_granular_policy_says_kind_by_kind_what_may_be_asked(
    bench: Bench, policy: dict[str, Any], call: str, asks: bool, runs: int
) -> None:
    thread = bench.thread(approvalPolicy=policy)

    turn = bench.say(thread, CALLS[call])

    assert (turn.phase == "parked") is asks
    assert ran(bench) == runs
    order.check(bench.events(thread))


@pytest.mark.parametrize("reviewer", ["auto_review", "guardian_subagent"])
@pytest.mark.parametrize(
    ("policy", "call", "runs", "denied"),
    [
        ("on-request", "command", 1, False),
        ("on-request", "escalated", 0, True),
        ("untrusted", "command", 0, True),
        ("untrusted", "patch", 0, True),
        ("never", "escalated", 0, False),
    ],
)
def test_what_would_be_asked_is_denied_when_no_person_takes_the_approvals(
    bench: Bench, reviewer: str, policy: str, call: str, runs: int, denied: bool
) -> None:
    thread = bench.thread(approvalPolicy=policy, approvalsReviewer=reviewer)

    turn = bench.say(thread, f"{CALLS[call]}[[say Then.]]")

    seen = order.check(bench.events(thread))
    assert seen.turns == {turn.id: "completed"}
    assert (ran(bench), seen.asked) == (runs, set())
    reviews = [params for method, params in bench.events(thread) if method.startswith("item/autoApprovalReview/")]
    assert [review["review"]["status"] for review in reviews] == (["inProgress", "denied"] if denied else [])
    item = bench.shown(thread)[1]
    if denied:
        assert item["status"] == "declined"
        assert {review["targetItemId"] for review in reviews} == {item["id"]}
        assert reviews[1]["review"]["rationale"] in outputs(bench)[0]
        assert reviews[0]["action"]["type"] == ("applyPatch" if call == "patch" else "command")


def test_what_a_person_allowed_before_needs_no_reviewer(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    bench.say(thread, COMMAND)
    answer(bench, thread, {"decision": "acceptForSession"})

    bench.say(thread, COMMAND, settings={"approvalsReviewer": "auto_review"})

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
def test_a_rule_covers_lines_all_of_whose_commands_it_covers(
    bench: Bench, arguments: dict[str, Any], asks: bool
) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    bench.workers[0].store.approvals.add_rule(thread.owner, ["mkdir", "-p"])

    turn = bench.say(thread, f"[[tool exec_command {json.dumps(arguments)}]]")

    assert (turn.phase == "parked") is asks
