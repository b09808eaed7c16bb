"""A turn from its claim to its end: what followers receive and what the model is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.errors import NO_FOLDERS, SandboxUnavailable
from shared.ids import new_id
from shared.store.threads import Thread
from tests.support import order
from tests.workers.builders import Bench
from workers.agent import tool_calls
from workers.sandbox import runner

PATCH = "*** Begin Patch\n*** Add File: new.txt\n+one\n*** End Patch"


def types(items: list[dict[str, Any]]) -> list[str]:
    return [item["type"] for item in items]


def inputs(bench: Bench) -> list[dict[str, Any]]:
    """Return the input of the last request to the model."""
    found: list[dict[str, Any]] = bench.model.requests[-1].body["input"]
    return found


def outputs(bench: Bench) -> list[str]:
    return [item["output"] for item in inputs(bench) if item["type"].endswith("_output")]


def texts(bench: Bench, role: str) -> list[str]:
    return [item["content"][0]["text"] for item in inputs(bench) if item.get("role") == role]


def test_events_of_a_turn_come_in_the_order_of_the_protocol(bench: Bench) -> None:
    thread = bench.thread()

    turn = bench.run_turn(thread, "[[say Hello there, world]]", client_id="c1")

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


def test_reasoning_is_published_in_parts_and_sent_back_to_the_model(bench: Bench) -> None:
    thread = bench.thread()

    bench.run_turn(thread, "[[reason First thought|Second thought]][[say So.]]")
    bench.run_turn(thread, "again")

    seen = order.check(bench.events(thread))
    reasoning = bench.shown(thread)[1]
    assert reasoning["summary"] == ["First thought", "Second thought"]
    published = [seen.texts["item/reasoning/summaryTextDelta", reasoning["id"], index] for index in (0, 1)]
    assert published == reasoning["summary"]
    assert [item["type"] for item in inputs(bench)].count("reasoning") == 1


def test_raw_reasoning_is_published_as_it_comes(bench: Bench) -> None:
    thread = bench.thread()

    bench.run_turn(thread, "[[think I think so]][[say So.]]")

    seen = order.check(bench.events(thread))
    reasoning = bench.shown(thread)[1]
    assert reasoning["content"] == ["I think so"]
    assert seen.texts["item/reasoning/textDelta", reasoning["id"], 0] == "I think so"


def test_first_turn_stores_the_git_info_of_the_workspace(bench: Bench) -> None:
    (bench.cwd / ".git" / "refs" / "heads").mkdir(parents=True)
    (bench.cwd / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (bench.cwd / ".git" / "refs" / "heads" / "main").write_text(f"{'a' * 40}\n")
    threads = bench.workers[0].store.threads
    thread, named = bench.thread(), bench.thread()
    threads.change_git_info(
        named.id, named.owner, lambda _: {"sha": None, "branch": "named-by-client", "originUrl": None}
    )

    bench.run_turn(thread, "hello")
    bench.run_turn(named, "hello")

    facts = {"sha": "a" * 40, "branch": "main", "originUrl": None}
    assert threads.get(thread.id, thread.owner).git_info == facts
    assert threads.get(named.id, named.owner).git_info == {**facts, "sha": None, "branch": "named-by-client"}


def test_command_runs_between_two_answers(bench: Bench) -> None:
    thread = bench.thread()

    turn = bench.run_turn(thread, "[[say Look.]][[run printf 'a\\nb\\n'; exit 3]][[say Done: 3.]]")

    seen = order.check(bench.events(thread))
    assert turn.status == "completed"
    assert types(bench.shown(thread)) == ["userMessage", "agentMessage", "commandExecution", "agentMessage"]
    command = bench.shown(thread)[2]
    assert (command["status"], command["exitCode"]) == ("failed", 3)
    assert command["aggregatedOutput"].endswith("a\nb\n")  # a login shell may print something first
    assert "Process exited with code 3" in outputs(bench)[0]
    assert set(seen.started) == set(seen.completed)


def test_patches_of_one_answer_are_applied_in_their_order(bench: Bench) -> None:
    thread = bench.thread()
    texts = ("Add File: log\n+a", "Update File: log\n@@\n-a\n+b", "Update File: log\n@@\n-b\n+c")

    bench.run_turn(thread, "+".join(f"[[patch *** Begin Patch\n*** {text}\n*** End Patch]]" for text in texts))

    order.check(bench.events(thread))
    assert (bench.cwd / "log").read_text() == "c\n"
    assert len(bench.model.requests) == 2
    assert len(outputs(bench)) == 3


def test_patch_changes_files_and_publishes_the_diff_of_the_turn(bench: Bench) -> None:
    thread = bench.thread()

    bench.run_turn(thread, f"[[patch {PATCH}]]")

    events = bench.events(thread)
    order.check(events)
    assert (bench.cwd / "new.txt").read_text() == "one\n"
    change = bench.shown(thread)[1]
    assert (change["status"], change["changes"][0]["kind"]) == ("completed", {"type": "add"})
    diffs = [params["diff"] for method, params in events if method == "turn/diff/updated"]
    assert diffs
    assert "+one" in diffs[-1]


def test_update_plan_publishes_the_plan_without_an_item(bench: Bench) -> None:
    thread = bench.thread()
    plan = {"explanation": "Why", "plan": [{"step": "Look", "status": "in_progress"}]}

    bench.run_turn(thread, f"[[tool update_plan {json.dumps(plan)}]]")

    plans = [params for method, params in bench.events(thread) if method == "turn/plan/updated"]
    assert [(one["explanation"], one["plan"]) for one in plans] == [("Why", [{"step": "Look", "status": "inProgress"}])]
    assert types(bench.shown(thread)) == ["userMessage", "agentMessage"]


@pytest.mark.parametrize(
    ("call", "explanation"),
    [
        (
            "[[tool frobnicate {}]]",
            "There is no tool `frobnicate`. Tools: exec_command, write_stdin, apply_patch, update_plan, view_image.",
        ),
        ('[[tool exec_command {"command": "ls"}]]', "cmd: expected a string"),
        ("[[tool exec_command []]]", "not a JSON object"),
        ('[[tool update_plan {"plan": 5}]]', "update_plan: expected"),
        ("[[patch no patch at all]]", "atch"),
        ('[[tool write_stdin {"session_id": 7}]]', "no session 7"),
    ],
)
def test_invalid_call_is_explained_to_the_model(bench: Bench, call: str, explanation: str) -> None:
    thread = bench.thread()

    turn = bench.run_turn(thread, f"{call}[[say Sorry.]]")

    order.check(bench.events(thread))
    assert turn.status == "completed"
    assert explanation in outputs(bench)[0]
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
def test_lone_surrogates_stop_neither_their_turn_nor_others(bench: Bench, call: str) -> None:
    thread, other = bench.thread(), bench.thread()

    turn = bench.run_turn(thread, call)
    after = bench.run_turn(other, "hello")

    order.check(bench.events(thread))
    assert (turn.status, after.status) == ("completed", "completed")


def test_second_turn_has_the_first_in_its_history(bench: Bench) -> None:
    thread = bench.thread()

    bench.run_turn(thread, "[[run echo marker-$((40 + 2))]][[say First.]]")
    bench.run_turn(thread, "second")

    seen = order.check(bench.events(thread))
    assert list(seen.turns.values()) == ["completed", "completed"]
    assert any("marker-42" in output for output in outputs(bench))
    assert texts(bench, "assistant") == ["First."]
    usage = [params for method, params in bench.events(thread) if method == "thread/tokenUsage/updated"]
    assert [one["tokenUsage"]["total"]["totalTokens"] for one in usage] == [120, 240, 360]


def test_instructions_and_environment_are_rows_apart_from_user_messages(bench: Bench) -> None:
    (bench.cwd / "AGENTS.md").write_text("Always be brief.")
    thread = bench.thread()

    bench.run_turn(thread, "hello")
    bench.run_turn(thread, "again")

    users = texts(bench, "user")
    assert [text for text in users if "Always be brief." in text] == [users[0]]
    assert [text for text in users if text.startswith("<environment_context>")] == [users[1]]
    assert users[2:] == ["hello", "again"]
    rows = bench.items(thread)
    exchange = ["userMessage", "agentMessage", "answer"]
    assert [row.kind for row in rows] == ["context", *exchange, *exchange]
    assert rows[0].item is None
    messages = [item["content"][0]["text"] for item in bench.shown(thread) if item["type"] == "userMessage"]
    assert messages == ["hello", "again"]
    assert "Always be brief." not in json.dumps(bench.events(thread))


def test_turn_without_a_tool_call_asks_the_tool_runner_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "hello")
    asked: list[str] = []
    ask = runner._runner.request

    def count(name: str, *args: Any) -> Any:
        asked.append(name)
        return ask(name, *args)

    monkeypatch.setattr(runner._runner, "request", count)

    bench.run_turn(thread, "again")

    assert asked == ["make_and_look_here", "read_project"]


def instructions_of(bench: Bench) -> list[str]:
    return [text for text in texts(bench, "user") if text.startswith("# AGENTS.md instructions")]


def test_edited_instructions_replace_the_old_ones_with_the_next_message(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "one")
    for text in ("Be brief.", "Be kind."):
        (bench.cwd / "AGENTS.md").write_text(text)
        bench.run_turn(thread, "[[run true]] [[say Done so.]]")
        bench.run_turn(thread, "again")
    (bench.cwd / "AGENTS.md").unlink()
    bench.run_turn(thread, "last")

    first, second, gone = instructions_of(bench)
    assert first == f"# AGENTS.md instructions for {bench.cwd}\n\n<INSTRUCTIONS>\nBe brief.\n</INSTRUCTIONS>"
    assert "<INSTRUCTIONS>\nThese AGENTS.md instructions replace all previously provided" in second
    assert "Be kind." in second
    assert "no longer apply" in gone
    assert texts(bench, "user")[-2:] == [gone, "last"]


def test_instructions_of_a_new_folder_replace_those_of_the_old(bench: Bench) -> None:
    other = bench.cwd / "other"
    other.mkdir()
    (bench.cwd / "AGENTS.md").write_text("Be brief.")
    (other / "AGENTS.md").write_text("Be kind.")
    thread = bench.thread()

    bench.run_turn(thread, "one")
    bench.run_turn(thread, "two", settings={"cwd": str(other)})
    bench.run_turn(thread, "three")

    first, second = instructions_of(bench)
    assert first.startswith(f"# AGENTS.md instructions for {bench.cwd}\n")
    assert second.startswith(
        f"# AGENTS.md instructions for {other}\n\n<INSTRUCTIONS>\nThese AGENTS.md instructions repl"
    )


def test_user_is_warned_once_of_instructions_that_were_cut(bench: Bench) -> None:
    (bench.cwd / "AGENTS.md").write_text("x" * 100)
    told = bench.thread(projectDocMaxBytes=10, instructionSources=[])
    untold = bench.thread(projectDocMaxBytes=10)
    for thread in (told, untold):
        bench.run_turn(thread, "one")
        bench.run_turn(thread, "two")

    def warnings(thread: Thread) -> list[str]:
        return [params["message"] for method, params in bench.events(thread) if method == "warning"]

    assert warnings(told) == []
    assert [warning.split(" bytes from ")[0] for warning in warnings(untold)] == ["Loaded only 10 of 100"]


def test_environment_is_sent_again_only_when_it_changed(bench: Bench) -> None:
    thread = bench.thread()
    other = bench.cwd / "other"
    other.mkdir()

    bench.run_turn(thread, "one")
    bench.run_turn(thread, "two", settings={"cwd": str(other)})
    bench.run_turn(thread, "three")

    environments = [text for text in texts(bench, "user") if text.startswith("<environment_context>")]
    assert len(environments) == 2
    assert f"<cwd>{other}</cwd>" in environments[1]


def test_settings_and_output_schema_reach_the_model(bench: Bench) -> None:
    thread = bench.thread(effort="high", summary="concise", developerInstructions="Speak Latin.")
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}

    bench.run_turn(thread, "name this", options={"outputSchema": schema})

    body = bench.model.requests[-1].body
    assert body["reasoning"] == {"effort": "high", "summary": "concise"}
    assert body["text"]["format"]["schema"] == schema
    assert "Speak Latin." in texts(bench, "developer")
    assert json.loads(bench.shown(thread)[-1]["text"]) == {"title": "name this"}


def test_missing_working_directory_fails_the_turn_with_a_reason(bench: Bench) -> None:
    thread = bench.thread(cwd=str(bench.cwd / "gone"))

    turn = bench.run_turn(thread, "hello")

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
def test_failing_model_is_retried_or_ends_the_turn(
    bench: Bench, script: str, status: str, retries: int, info: str | None
) -> None:
    thread = bench.thread()

    turn = bench.run_turn(thread, script)

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


def test_turn_after_a_failed_one_works(bench: Bench) -> None:
    thread = bench.thread()

    bench.run_turn(thread, "[[status 400 no]]")
    turn = bench.run_turn(thread, "hello")

    assert turn.status == "completed"
    assert list(order.check(bench.events(thread)).turns.values()) == ["failed", "completed"]


def test_deleting_the_thread_releases_its_worker(bench: Bench) -> None:
    thread = bench.thread()
    bench.begin(thread, "[[say a]][[pause p]][[say b]]")
    running = bench.start_run()
    bench.model.wait_reached("p")

    bench.workers[0].store.threads.delete(thread.id, thread.owner)
    bench.model.release("p")

    running.join()
    assert bench.run_turn(bench.thread(), "hello").status == "completed"


def test_unknown_provider_fails_the_turn(open_bench: Callable[..., Bench], tmp_path: Path) -> None:
    bench = open_bench()
    thread = bench.thread(modelProvider="gone")

    turn = bench.run_turn(thread, "hello")

    assert turn.status == "failed"
    assert turn.error is not None
    assert "gone" in turn.error["message"]


@pytest.mark.parametrize("script", ["[[status 401 no key]]", "[[status 500 boom]]", "[[status 502 oops]]"])
def test_only_the_local_user_is_told_where_the_provider_is(bench: Bench, script: str) -> None:
    local, hosted = bench.thread(), bench.thread(owner=new_id())

    turns = [bench.run_turn(thread, script) for thread in (local, hosted)]

    told = [json.dumps([turn.error, bench.events(thread)]) for turn, thread in zip(turns, (local, hosted), strict=True)]
    assert [f"url: {bench.model.base_url}" in text for text in told] == [True, False]
    assert bench.model.base_url not in told[1]


def test_only_the_local_user_reads_what_the_operator_must_mend(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> object:
        raise SandboxUnavailable("no runner at /run/runner.sock: start it")

    monkeypatch.setattr(tool_calls, "thread_sandbox", fail)
    local, hosted = (bench.run_turn(thread, "hello") for thread in (bench.thread(), bench.thread(owner=new_id())))

    assert local.error is not None
    assert local.error["message"] == "no runner at /run/runner.sock: start it"
    assert hosted.error is not None
    assert hosted.error["message"] == NO_FOLDERS
