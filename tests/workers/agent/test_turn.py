"""A turn from its claim to its end, as a follower sees it and as the model is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import order
from tests.workers.builders import Bench

PATCH = "*** Begin Patch\n*** Add File: new.txt\n+one\n*** End Patch"


def types(items: list[dict[str, Any]]) -> list[str]:
    return [item["type"] for item in items]


def inputs(bench: Bench) -> list[dict[str, Any]]:
    """The model's input at its last request."""
    found: list[dict[str, Any]] = bench.model.requests[-1].body["input"]
    return found


def outputs(bench: Bench) -> list[str]:
    return [item["output"] for item in inputs(bench) if item["type"].endswith("_output")]


def texts(bench: Bench, role: str) -> list[str]:
    return [item["content"][0]["text"] for item in inputs(bench) if item.get("role") == role]


def test_events_of_a_plain_turn_come_in_the_order_of_the_protocol(bench: Bench) -> None:
    thread = bench.thread()

    turn = bench.say(thread, "[[say Hello there, world]]", client_id="c1")

    events = bench.events(thread)
    assert order.methods(events) == [
        "thread/status/changed active",
        "turn/started",
        "item/started userMessage",
        "item/completed userMessage",
        "item/started agentMessage",
        "item/agentMessage/delta",
        "item/completed agentMessage",
        "thread/tokenUsage/updated",
        "thread/status/changed idle",
        "turn/completed",
    ]
    seen = order.check(events)
    assert seen.turns == {turn.id: "completed"}
    assert turn.status == "completed"
    user, agent = bench.shown(thread)
    assert (user["clientId"], user["content"][0]["text"]) == ("c1", "[[say Hello there, world]]")
    assert agent["text"] == "Hello there, world"
    completed = events[-1][1]["turn"]
    assert types(completed["items"]) == ["agentMessage"]
    assert completed["itemsView"] == "summary"


def test_reasoning_is_shown_in_parts_and_goes_back_to_the_model(bench: Bench) -> None:
    thread = bench.thread()

    bench.say(thread, "[[reason First thought|Second thought]][[say So.]]")
    bench.say(thread, "again")

    order.check(bench.events(thread))
    reasoning = bench.shown(thread)[1]
    assert reasoning["summary"] == ["First thought", "Second thought"]
    assert [item["type"] for item in inputs(bench)].count("reasoning") == 1


def test_the_first_turn_tells_which_repository_the_thread_works_in(bench: Bench) -> None:
    (bench.cwd / ".git" / "refs" / "heads").mkdir(parents=True)
    (bench.cwd / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (bench.cwd / ".git" / "refs" / "heads" / "main").write_text(f"{'a' * 40}\n")
    threads = bench.workers[0].store.threads
    thread, told = bench.thread(), bench.thread()
    threads.set_git_info(told.id, told.owner, {"sha": None, "branch": "a client's word", "originUrl": None})

    bench.say(thread, "hello")
    bench.say(told, "hello")

    facts = {"sha": "a" * 40, "branch": "main", "originUrl": None}
    assert threads.get(thread.id, thread.owner).git_info == facts
    assert threads.get(told.id, told.owner).git_info == {**facts, "sha": None, "branch": "a client's word"}


def test_a_command_runs_between_two_answers(bench: Bench) -> None:
    thread = bench.thread()

    turn = bench.say(thread, "[[say Look.]][[run printf 'a\\nb\\n'; exit 3]][[say Done: 3.]]")

    seen = order.check(bench.events(thread))
    assert turn.status == "completed"
    assert types(bench.shown(thread)) == ["userMessage", "agentMessage", "commandExecution", "agentMessage"]
    command = bench.shown(thread)[2]
    assert (command["status"], command["exitCode"]) == ("failed", 3)
    assert command["aggregatedOutput"].endswith("a\nb\n")  # a login shell may have said something first
    assert "Process exited with code 3" in outputs(bench)[0]
    assert set(seen.started) == set(seen.completed)


def test_several_calls_of_one_answer_run_in_their_order(bench: Bench) -> None:
    thread = bench.thread()

    bench.say(thread, "[[run echo a >> log]]+[[run echo b >> log]]+[[run echo c >> log]]")

    order.check(bench.events(thread))
    assert (bench.cwd / "log").read_text() == "a\nb\nc\n"
    assert len(bench.model.requests) == 2
    assert len(outputs(bench)) == 3


def test_a_patch_changes_files_and_the_diff_of_the_turn_is_told(bench: Bench) -> None:
    thread = bench.thread()

    bench.say(thread, f"[[patch {PATCH}]]")

    events = bench.events(thread)
    order.check(events)
    assert (bench.cwd / "new.txt").read_text() == "one\n"
    change = bench.shown(thread)[1]
    assert (change["status"], change["changes"][0]["kind"]) == ("completed", {"type": "add"})
    diffs = [params["diff"] for method, params in events if method == "turn/diff/updated"]
    assert diffs
    assert "+one" in diffs[-1]


def test_a_plan_is_told_and_is_no_item(bench: Bench) -> None:
    thread = bench.thread()
    plan = {"explanation": "Why", "plan": [{"step": "Look", "status": "in_progress"}]}

    bench.say(thread, f"[[tool update_plan {json.dumps(plan)}]]")

    told = [params for method, params in bench.events(thread) if method == "turn/plan/updated"]
    assert [(one["explanation"], one["plan"]) for one in told] == [("Why", [{"step": "Look", "status": "inProgress"}])]
    assert types(bench.shown(thread)) == ["userMessage", "agentMessage"]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("[[tool frobnicate {}]]", "There is no tool `frobnicate`"),
        ('[[tool exec_command {"command": "ls"}]]', "cmd: expected a string"),
        ("[[tool exec_command []]]", "no JSON object"),
        ('[[tool update_plan {"plan": 5}]]', "update_plan: expected"),
        ("[[patch no patch at all]]", "atch"),
        ('[[tool write_stdin {"session_id": 7}]]', "no session 7"),
    ],
)
def test_a_call_that_makes_no_sense_is_something_the_model_is_told(bench: Bench, call: str, told: str) -> None:
    thread = bench.thread()

    turn = bench.say(thread, f"{call}[[say Sorry.]]")

    order.check(bench.events(thread))
    assert turn.status == "completed"
    assert told in outputs(bench)[0]
    assert types(bench.shown(thread)) == ["userMessage", "agentMessage"]


@pytest.mark.parametrize(
    "call",
    [
        '[[tool update_plan {"plan": [{"step": "half a character: \\ud800", "status": "pending"}]}]]',
        '[[tool exec_command {"cmd": "true # \\ud800", "prefix_rule": ["\\ud800"], "justification": "\\udfff"}]]',
        '[[tool view_image {"path": "\\ud800.png"}]]',
        '[[tool apply_patch {"input": "*** Begin Patch\\n*** Add File: x\\n+\\ud800\\n*** End Patch"}]]',
    ],
)
def test_text_that_is_no_unicode_stops_neither_its_turn_nor_others(bench: Bench, call: str) -> None:
    thread, other = bench.thread(), bench.thread()

    turn = bench.say(thread, call)
    after = bench.say(other, "hello")

    order.check(bench.events(thread))
    assert (turn.status, after.status) == ("completed", "completed")


def test_the_second_turn_has_the_first_one_in_its_history(bench: Bench) -> None:
    thread = bench.thread()

    bench.say(thread, "[[run echo marker-$((40 + 2))]][[say First.]]")
    bench.say(thread, "second")

    seen = order.check(bench.events(thread))
    assert list(seen.turns.values()) == ["completed", "completed"]
    assert any("marker-42" in output for output in outputs(bench))
    assert texts(bench, "assistant") == ["First."]
    usage = [params for method, params in bench.events(thread) if method == "thread/tokenUsage/updated"]
    assert [one["tokenUsage"]["total"]["totalTokens"] for one in usage] == [120, 240, 360]


def test_instructions_and_environment_are_rows_of_their_own_and_never_what_the_user_said(bench: Bench) -> None:
    (bench.cwd / "AGENTS.md").write_text("Always be brief.")
    thread = bench.thread()

    bench.say(thread, "hello")
    bench.say(thread, "again")

    users = texts(bench, "user")
    assert [text for text in users if "Always be brief." in text] == [users[0]]
    assert [text for text in users if text.startswith("<environment_context>")] == [users[1]]
    assert users[2:] == ["hello", "again"]
    rows = bench.items(thread)
    said = ["userMessage", "agentMessage", "answer"]
    assert [row.kind for row in rows] == ["context", *said, *said]
    assert rows[0].item is None
    said = [item["content"][0]["text"] for item in bench.shown(thread) if item["type"] == "userMessage"]
    assert said == ["hello", "again"]
    assert "Always be brief." not in json.dumps(bench.events(thread))


def test_the_environment_is_told_again_only_when_it_changed(bench: Bench) -> None:
    thread = bench.thread()
    other = bench.cwd / "other"
    other.mkdir()

    bench.say(thread, "one")
    bench.say(thread, "two", settings={"cwd": str(other)})
    bench.say(thread, "three")

    told = [text for text in texts(bench, "user") if text.startswith("<environment_context>")]
    assert len(told) == 2
    assert f"<cwd>{other}</cwd>" in told[1]


def test_what_the_model_must_follow_is_asked_for(bench: Bench) -> None:
    thread = bench.thread(effort="high", summary="concise", developerInstructions="Speak Latin.")
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}

    bench.say(thread, "name this", options={"outputSchema": schema})

    body = bench.model.requests[-1].body
    assert body["reasoning"] == {"effort": "high", "summary": "concise"}
    assert body["text"]["format"]["schema"] == schema
    assert "Speak Latin." in texts(bench, "developer")
    assert json.loads(bench.shown(thread)[-1]["text"]) == {"title": "name this"}


def test_a_folder_that_is_gone_fails_the_turn_with_a_reason(bench: Bench) -> None:
    thread = bench.thread(cwd=str(bench.cwd / "gone"))

    turn = bench.say(thread, "hello")

    seen = order.check(bench.events(thread))
    assert turn.status == "failed"
    assert turn.error is not None
    assert "gone" in turn.error["message"]
    assert seen.status == "systemError"
    assert types(bench.shown(thread)) == ["userMessage"]


@pytest.mark.parametrize(
    ("script", "status", "retries", "info"),
    [
        ("[[status 500 times=1 no]][[say Here.]]", "completed", 1, None),
        ("[[say Half an]] [[drop times=1]][[say Here.]]", "completed", 1, None),
        ("[[garbage times=2]][[say Here.]]", "completed", 2, None),
        ("[[status 500 no]]", "failed", 2, "internalServerError"),
        ("[[drop]]", "failed", 2, "other"),
        ("[[status 400 You may not.]]", "failed", 0, "other"),
        ("[[status 429 type=usage_limit_reached Enough.]]", "failed", 0, "usageLimitExceeded"),
        ("[[fail context_length_exceeded Too long.]]", "failed", 0, "contextWindowExceeded"),
    ],
)
def test_a_model_that_fails(bench: Bench, script: str, status: str, retries: int, info: str | None) -> None:
    thread = bench.thread()

    turn = bench.say(thread, script)

    events = bench.events(thread)
    seen = order.check(events)
    errors = [params for method, params in events if method == "error"]
    assert turn.status == status
    assert [error["error"]["message"] for error in errors if error["willRetry"]] == [
        f"Reconnecting... {n}/2" for n in range(1, retries + 1)
    ]
    if status == "failed":
        assert turn.error is not None
        assert turn.error["codexErrorInfo"] == info
        assert (errors[-1]["willRetry"], errors[-1]["error"]) == (False, turn.error)
        assert seen.status == "systemError"
        assert events[-1][1]["turn"]["error"] == turn.error
    else:
        assert bench.shown(thread)[-1]["text"].endswith("Here.")
        assert types(bench.shown(thread)) == ["userMessage", "agentMessage"]


def test_after_a_failed_turn_the_next_one_works(bench: Bench) -> None:
    thread = bench.thread()

    bench.say(thread, "[[status 400 no]]")
    turn = bench.say(thread, "hello")

    assert turn.status == "completed"
    assert list(order.check(bench.events(thread)).turns.values()) == ["failed", "completed"]


def test_a_thread_that_is_deleted_in_mid_turn_lets_its_worker_go(bench: Bench) -> None:
    thread = bench.thread()
    bench.begin(thread, "[[say a]][[pause p]][[say b]]")
    running = bench.start_run()
    bench.model.wait_reached("p")

    bench.workers[0].store.threads.delete(thread.id, thread.owner)
    bench.model.release("p")

    running.join()
    assert bench.say(bench.thread(), "hello").status == "completed"


def test_an_unknown_provider_fails_the_turn(open_bench: Callable[..., Bench], tmp_path: Path) -> None:
    bench = open_bench()
    thread = bench.thread(modelProvider="gone")

    turn = bench.say(thread, "hello")

    assert turn.status == "failed"
    assert turn.error is not None
    assert "gone" in turn.error["message"]
