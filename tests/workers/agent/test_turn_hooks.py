"""The hooks of a turn: what each event's hooks see, what they decide, and what a worker that takes over makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from shared.config.hooks import HookSettings
from shared.hook_files import read_events
from shared.protocol.hooks import Hook
from shared.store.threads import Thread
from shared.store.turns import NewTurn, Turn
from shared.store.users import LOCAL_USER
from tests.support import order
from tests.workers.agent.test_private_tmp import hosted_thread
from tests.workers.agent.test_turn import inputs, outputs, texts, types
from tests.workers.builders import DEADLINE_SECONDS, Bench, Freeze
from workers.control import fault_points

PATH = "/threadhouse/hooks.json"
ESCALATED = '[[tool exec_command {"cmd": "echo ran >> log", "sandbox_permissions": "require_escalated"}]]'
DENY = json.dumps({"hookSpecificOutput": {"permissionDecision": "deny", "permissionDecisionReason": "not this"}})
Open = Callable[..., Bench]


def says(output: object) -> str:
    """Return the line of a hook that notes its input in `seen` and answers with JSON."""
    return f"cat >> seen; cat <<'END'\n{json.dumps(output)}\nEND"


def settings(
    lines: Mapping[str, str], *, required: bool = False, matcher: str | None = None, **handler: Any
) -> HookSettings:
    events = {
        name: [{"matcher": matcher, "hooks": [{"type": "command", "command": line, "timeout": 30, **handler}]}]
        for name, line in lines.items()
    }
    return HookSettings(required=required, found=read_events(events, PATH, "user"))


def trust(bench: Bench, *hooks: Hook, owner: str = LOCAL_USER) -> None:
    state = {hook["key"]: {"trusted_hash": hook["currentHash"]} for hook in hooks}
    bench.workers[0].store.user_configs.change(owner, lambda _: {"hooks": {"state": state}}, None)


def compact(bench: Bench, thread: Thread) -> Turn:
    """Run a turn as thread/compact/start begins it."""
    new = NewTurn(None, None, {}, {"kind": "compact"})
    turn, _ = bench.workers[0].store.turns.create_or_steer(thread.id, thread.owner, new, queued_limit=0)
    bench.run()
    return bench.turn(turn)


def hooked(open_bench: Open, lines: Mapping[str, str], **options: Any) -> Bench:
    """Return a bench with a trusted hook for each of these events. lines: event → what its hook runs"""
    found = settings(lines, **options)
    bench = open_bench(hooks=found)
    trust(bench, *found.found.hooks)
    return bench


def runs(bench: Bench, thread: Thread) -> list[tuple[str, str, list[Any]]]:
    """Return the hooks that have ended: event, status, entries."""
    ended = [params["run"] for method, params in bench.events(thread) if method == "hook/completed"]
    return [(run["eventName"], run["status"], [(one["kind"], one["text"]) for one in run["entries"]]) for run in ended]


def seen(bench: Bench) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (bench.cwd / "seen").read_text().splitlines()]


def ran(bench: Bench) -> int:
    log = bench.cwd / "log"
    return log.read_text().count("ran") if log.exists() else 0


def test_a_hook_sees_the_call_and_lets_it_run(open_bench: Open) -> None:
    bench = hooked(open_bench, {"PreToolUse": "cat >> seen", "PostToolUse": "cat >> seen", "Stop": "cat >> seen"})
    thread = bench.thread()

    turn = bench.run_turn(thread, "[[run echo ran | tee -a log]]")

    before, after, stop = seen(bench)
    common = {"session_id": thread.id, "turn_id": turn.id, "cwd": str(bench.cwd), "model": "mock-model"}
    assert common.items() <= before.items()
    assert (before["tool_name"], before["tool_input"]) == ("Bash", {"command": "echo ran | tee -a log"})
    assert (after["tool_response"], after["tool_use_id"]) == ("ran\n", before["tool_use_id"])
    assert (stop["stop_hook_active"], stop["last_assistant_message"]) == (False, "Done.")
    assert [event for event, _, _ in runs(bench, thread)] == ["preToolUse", "postToolUse", "stop"]
    assert ran(bench) == 1
    order.check(bench.events(thread))


@pytest.mark.parametrize("line", ["echo not this >&2; exit 2", f"echo '{DENY}'"])
def test_a_call_that_a_hook_refuses_has_no_item_and_never_runs(open_bench: Open, line: str) -> None:
    bench = hooked(open_bench, {"PreToolUse": line, "PostToolUse": "touch after"})
    thread = bench.thread()

    turn = bench.run_turn(thread, "[[run echo ran >> log]]")

    assert turn.status == "completed"
    assert outputs(bench) == ["Command blocked by PreToolUse hook: not this. Command: echo ran >> log"]
    assert types(bench.shown(thread)) == ["userMessage", "agentMessage"]
    assert runs(bench, thread) == [("preToolUse", "blocked", [("feedback", "not this")])]
    assert ran(bench) == 0
    assert not (bench.cwd / "after").exists()


def test_a_hook_changes_the_input_of_a_call_and_adds_context(open_bench: Open) -> None:
    output = {
        "permissionDecision": "allow",
        "updatedInput": {"command": "echo changed"},
        "additionalContext": "careful",
    }
    bench = hooked(open_bench, {"PreToolUse": says({"hookSpecificOutput": output})})
    thread = bench.thread()

    bench.run_turn(thread, "[[run echo ran >> log]]")

    (item,) = [item for item in bench.shown(thread) if item["type"] == "commandExecution"]
    assert (item["aggregatedOutput"], ran(bench)) == ("changed\n", 0)
    call, context, output_item = inputs(bench)[-3:]
    assert json.loads(call["arguments"])["cmd"] == "echo ran >> log"
    assert context["content"][0]["text"] == "careful"
    assert output_item["type"] == "function_call_output"


def test_a_patch_is_seen_and_changed_as_its_text(open_bench: Open) -> None:
    patch = "*** Begin Patch\n*** Add File: other\n+x\n*** End Patch"
    output = {"permissionDecision": "allow", "updatedInput": {"command": patch}}
    bench = hooked(open_bench, {"PreToolUse": says({"hookSpecificOutput": output})})

    bench.run_turn(bench.thread(), "[[patch *** Begin Patch\n*** Add File: asked\n+x\n*** End Patch]]")

    assert (seen(bench)[0]["tool_name"], (bench.cwd / "asked").exists()) == ("apply_patch", False)
    assert (bench.cwd / "other").exists()


def test_a_hook_after_the_call_replaces_what_the_model_reads(open_bench: Open) -> None:
    output = {"decision": "block", "reason": "bad", "hookSpecificOutput": {"additionalContext": "note"}}
    bench = hooked(open_bench, {"PostToolUse": says(output)})
    thread = bench.thread()

    bench.run_turn(thread, "[[run echo ran]]")

    assert outputs(bench) == ["bad"]
    assert [item["type"] for item in inputs(bench)[-3:]] == ["function_call", "message", "function_call_output"]
    (item,) = [item for item in bench.shown(thread) if item["type"] == "commandExecution"]
    assert (item["status"], item["aggregatedOutput"]) == ("completed", "ran\n")
    assert runs(bench, thread) == [("postToolUse", "blocked", [("context", "note"), ("feedback", "bad")])]


def test_a_prompt_that_a_hook_refuses_reaches_neither_model_nor_log(open_bench: Open) -> None:
    bench = hooked(open_bench, {"UserPromptSubmit": says({"decision": "block", "reason": "no"}), "Stop": "touch stop"})
    thread = bench.thread()

    turn = bench.run_turn(thread, "secret words")

    assert (turn.status, bench.shown(thread), bench.model.requests) == ("completed", [], [])
    assert (seen(bench)[0]["prompt"], (bench.cwd / "stop").exists()) == ("secret words", False)
    assert runs(bench, thread) == [("userPromptSubmit", "blocked", [("feedback", "no")])]
    order.check(bench.events(thread))


def test_hooks_add_context_to_the_first_prompt_and_to_each(open_bench: Open) -> None:
    bench = hooked(open_bench, {"SessionStart": "cat >> seen; echo welcome", "UserPromptSubmit": "echo hint"})
    thread = bench.thread()

    bench.run_turn(thread, "one")
    bench.run_turn(thread, "two")

    said = [item["content"][0]["text"] for item in inputs(bench) if item.get("role") in ("developer", "user")]
    assert [text for text in said if text in ("welcome", "hint", "one", "two")] == [
        "welcome",
        "one",
        "hint",
        "two",
        "hint",
    ]
    assert [one["source"] for one in seen(bench)] == ["startup"]


def test_a_stop_hook_lets_the_turn_go_on(open_bench: Open) -> None:
    line = 'grep -q \'"stop_hook_active":true\' || echo \'{"decision":"block","reason":"go on"}\''
    bench = hooked(open_bench, {"Stop": line})
    thread = bench.thread()

    turn = bench.run_turn(thread, "hello")

    run_id = f"stop:0:{PATH}"
    assert turn.status == "completed"
    assert types(bench.shown(thread)) == ["userMessage", "agentMessage", "hookPrompt", "agentMessage"]
    assert bench.shown(thread)[2]["fragments"] == [{"text": "go on", "hookRunId": run_id}]
    assert texts(bench, "user")[-1] == f'<hook_prompt hook_run_id="{run_id}">go on</hook_prompt>'
    assert [status for _, status, _ in runs(bench, thread)] == ["blocked", "completed"]
    order.check(bench.events(thread))


def test_stop_hooks_cannot_keep_a_turn_going_for_ever(open_bench: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.agent.turn_hooks.MAX_CONTINUATIONS", 2)
    bench = hooked(open_bench, {"Stop": "echo more >&2; exit 2"})
    thread = bench.thread()

    turn = bench.run_turn(thread, "hello")

    assert (turn.status, len(bench.model.requests)) == ("completed", 3)
    (warning,) = [params["message"] for method, params in bench.events(thread) if method == "warning"]
    assert "Stop hooks" in warning


@pytest.mark.parametrize(
    ("decision", "phase", "times"),
    [({"behavior": "allow"}, "done", 1), ({"behavior": "deny"}, "done", 0), (None, "parked", 0)],
)
def test_a_hook_answers_in_the_place_of_a_person(open_bench: Open, decision: object, phase: str, times: int) -> None:
    line = says({"hookSpecificOutput": {"decision": decision}})
    bench = hooked(open_bench, {"PermissionRequest": line})
    thread = bench.thread(approvalPolicy="on-request")

    turn = bench.run_turn(thread, ESCALATED)

    assert (turn.phase, ran(bench)) == (phase, times)
    assert len(runs(bench, thread)) == 1
    if decision == {"behavior": "deny"}:
        expected = 'Rejected(\\"PermissionRequest hook denied approval\\")'
        assert outputs(bench) == [f'exec_command failed: CreateProcess {{ message: "{expected}" }}']
        assert types(bench.shown(thread)) == ["userMessage", "agentMessage"]


def test_a_denied_patch_is_not_said_to_be_a_process(open_bench: Open) -> None:
    bench = hooked(open_bench, {"PermissionRequest": "echo not here >&2; exit 2"})
    patch = "*** Begin Patch\n*** Add File: a\n+x\n*** End Patch"

    bench.run_turn(bench.thread(approvalPolicy="untrusted"), f"[[patch {patch}]]")

    assert outputs(bench) == ["apply_patch was denied by a PermissionRequest hook: not here"]
    assert not (bench.cwd / "a").exists()


def test_a_person_who_was_asked_is_not_asked_again_by_hooks(open_bench: Open) -> None:
    bench = hooked(open_bench, {"PermissionRequest": "cat >> seen", "PreToolUse": "cat >> seen"})
    thread = bench.thread(approvalPolicy="untrusted")
    bench.run_turn(thread, "[[run echo ran >> log]]")
    store = bench.workers[0].store
    (approval,) = store.approvals.pending(thread.id, thread.owner)

    store.turns.answer(approval.id, thread.owner, {"decision": "accept"})
    bench.run(bench.worker())

    assert [one["hook_event_name"] for one in seen(bench)] == ["PreToolUse", "PermissionRequest"]
    assert ran(bench) == 1


@pytest.mark.parametrize(
    ("output", "status", "names"),
    [({}, "completed", ["PreCompact", "PostCompact"]), ({"continue": False}, "interrupted", ["PreCompact"])],
)
def test_compaction_runs_its_hooks_and_one_can_rule_it_out(
    open_bench: Open, output: dict[str, Any], status: str, names: list[str]
) -> None:
    bench = hooked(open_bench, {"PreCompact": says(output), "PostCompact": "cat >> seen"})
    thread = bench.thread()
    bench.run_turn(thread, "hello")

    turn = compact(bench, thread)

    assert turn.status == status
    assert [(one["hook_event_name"], one["trigger"]) for one in seen(bench)] == [(name, "manual") for name in names]
    assert ("contextCompaction" in types(bench.shown(thread))) is (status == "completed")
    order.check(bench.events(thread))


def test_a_failed_hook_is_said_and_nothing_else(open_bench: Open) -> None:
    bench = hooked(open_bench, {"PreToolUse": "exit 1", "UserPromptSubmit": "echo '{nonsense'"})
    thread = bench.thread()

    bench.run_turn(thread, "[[run echo ran >> log]]")

    assert ran(bench) == 1
    assert runs(bench, thread) == [
        ("userPromptSubmit", "failed", [("error", "hook returned invalid UserPromptSubmit JSON output")]),
        ("preToolUse", "failed", [("error", "hook exited with code 1")]),
    ]


def test_a_required_hook_that_fails_refuses(open_bench: Open) -> None:
    bench = hooked(open_bench, {"PreToolUse": "exit 1"}, required=True)

    bench.run_turn(bench.thread(), "[[run echo ran >> log]]")

    assert ran(bench) == 0
    assert "a hook that must pass has failed: hook exited with code 1" in outputs(bench)[0]


@pytest.mark.parametrize("state", [{}, {"trusted_hash": "sha256:0"}, {"enabled": False}])
def test_a_hook_that_is_untrusted_changed_or_off_does_not_run(open_bench: Open, state: dict[str, Any]) -> None:
    found = settings({"PreToolUse": "exit 2"})
    bench = open_bench(hooks=found)
    (hook,) = found.found.hooks
    full = {"trusted_hash": hook["currentHash"], **state} if state else {}
    bench.workers[0].store.user_configs.change(LOCAL_USER, lambda _: {"hooks": {"state": {hook["key"]: full}}}, None)
    thread = bench.thread()

    bench.run_turn(thread, "[[run echo ran >> log]]")

    assert (ran(bench), runs(bench, thread)) == (1, [])


def test_users_with_keys_have_the_operators_hooks_without_trust_and_no_others(open_bench: Open) -> None:
    bench = open_bench(hooks=settings({"PreToolUse": "echo policy >&2; exit 2"}))
    planted = settings({"Stop": "touch planted"}).found.hooks
    trust(bench, *planted, owner="ann")
    thread = hosted_thread(bench, "ann", hooks=planted)

    bench.run_turn(thread, "[[run echo ran]]")

    assert "policy" in outputs(bench)[0]
    (run,) = [params["run"] for method, params in bench.events(thread) if method == "hook/completed"]
    assert (run["eventName"], run["source"]) == ("preToolUse", "system")


@pytest.mark.parametrize(
    "arguments",
    [
        '{"cmd": "echo forbidden >> log", "x": NaN}',
        '{"cmd": "echo forbidden >> log \\ud800"}',
        '{"cmd": "echo forbidden >> log", "x": 1e999}',
        '{"cmd": ["echo forbidden >> log"]}',
        '["echo forbidden >> log"]',
    ],
)
def test_a_call_that_hooks_cannot_read_does_not_run(open_bench: Open, arguments: str) -> None:
    bench = hooked(open_bench, {"PreToolUse": "grep -q forbidden && { echo policy >&2; exit 2; }; exit 0"})

    turn = bench.run_turn(bench.thread(), f"[[tool exec_command {arguments}]]")

    assert (turn.status, (bench.cwd / "log").exists()) == ("completed", False)
    assert outputs(bench)[0].startswith(("exec_command: ", "Command blocked by PreToolUse hook: policy"))


def test_hooks_see_a_patch_in_whichever_form_the_model_sends_it(open_bench: Open) -> None:
    bench = hooked(open_bench, {"PreToolUse": "echo policy >&2; exit 2"}, matcher="Write")
    patch = json.dumps({"input": "*** Begin Patch\n*** Add File: a\n+x\n*** End Patch"})

    turn = bench.run_turn(bench.thread(), f"[[tool apply_patch {patch}]]")

    assert turn.status == "completed"
    assert outputs(bench)[0].startswith("Command blocked by PreToolUse hook: policy. Command: *** Begin Patch")
    assert not (bench.cwd / "a").exists()


@pytest.mark.parametrize("point", ["in_hook", "before_hook_decision", "before_begun"])
def test_a_lost_hook_runs_again_until_its_decision_is_stored(open_bench: Open, point: str) -> None:
    deny_second = f"cat >> seen; [ $(wc -l < seen) = 1 ] || echo '{DENY}'"  # the first lets the call pass
    bench = hooked(open_bench, {"PreToolUse": deny_second})
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn, freeze = bench.begin(thread, "[[run echo ran >> log]]"), Freeze()
    fault_points.call_at(point, freeze)
    running = bench.start_run(lost)
    assert freeze.reached.wait(DEADLINE_SECONDS)
    fault_points.call_at("", lambda: None)

    bench.lose(turn, other)
    bench.run(other)
    freeze.release()
    running.join()

    times = {"in_hook": (1, 1), "before_hook_decision": (2, 0), "before_begun": (1, 1)}  # runs of the hook, of the call
    assert (len(seen(bench)), ran(bench)) == times[point]
    assert bench.turn(turn).status == "completed"
    order.check(bench.events(thread), lost=True)


@pytest.mark.parametrize("event", ["UserPromptSubmit", "PostToolUse", "Stop"])
def test_a_hook_of_any_event_is_made_up_for_when_its_worker_is_lost(open_bench: Open, event: str) -> None:
    bench = hooked(open_bench, {event: "cat >> seen"})
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn, freeze = bench.begin(thread, "[[run echo ran >> log]]"), Freeze()
    fault_points.call_at("before_hook_decision", freeze)
    running = bench.start_run(lost)
    assert freeze.reached.wait(DEADLINE_SECONDS)
    fault_points.call_at("", lambda: None)

    bench.lose(turn, other)
    bench.run(other)
    freeze.release()
    running.join()

    assert (len(seen(bench)), ran(bench), len(runs(bench, thread))) == (2, 1, 1)
    assert bench.turn(turn).status == "completed"
    assert types(bench.shown(thread)) == ["userMessage", "commandExecution", "agentMessage"]
    order.check(bench.events(thread), lost=True)


def test_a_thread_without_hooks_reads_no_trust(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(bench.workers[0].store.user_configs, "get", lambda owner: asked.append(owner) or ({}, 0))

    bench.run_turn(bench.thread(), "[[run echo ran]]")

    assert asked == []
