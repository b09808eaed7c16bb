"""Calls that a client answers: its own tools, and questions to the user. Parked meanwhile, like an approval."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from shared.protocol.dynamic_tools import RESERVED
from shared.store.threads import Thread
from tests.support import order
from tests.workers.agent.test_approvals import answer, pending
from tests.workers.agent.test_turn import outputs, types
from tests.workers.builders import Bench
from workers.agent import sweep
from workers.tools import TOOLS, user_shell

LOOKUP = {"type": "function", "name": "lookup", "description": "d", "inputSchema": {"type": "object"}}
NAMESPACE = {"type": "namespace", "name": "crm", "description": "n", "tools": [{**LOOKUP, "name": "find"}]}
CALL = '[[tool lookup {"id": "1"}]][[say Then.]]'
QUESTION = {"id": "q1", "header": "H", "question": "Which?", "options": [{"label": "A", "description": "a"}]}
PLAN = {"mode": "plan", "settings": {"model": "mock-model", "reasoning_effort": None, "developer_instructions": None}}


def asks(*questions: dict[str, Any]) -> str:
    return f"[[tool request_user_input {json.dumps({'questions': questions})}]][[say Then.]]"


def status(bench: Bench, thread: Thread) -> dict[str, Any]:
    return bench.workers[0].store.threads.get(thread.id, thread.owner).status()


def tool_names(bench: Bench) -> list[str]:
    return [tool["name"] for tool in bench.model.requests[-1].body["tools"]]


def test_a_clients_tool_is_offered_and_its_call_waits_for_the_client(bench: Bench) -> None:
    thread = bench.thread(dynamicTools=[LOOKUP, NAMESPACE])

    turn = bench.say(thread, CALL)

    assert turn.phase == "parked"
    assert tool_names(bench)[-2:] == ["lookup", "crm__find"]
    asked = pending(bench, thread)
    method, params = bench.events(thread)[-1]
    assert method == asked.method == "item/tool/call"
    assert params == {
        "threadId": thread.id,
        "turnId": turn.id,
        "callId": asked.item_id,
        "namespace": None,
        "tool": "lookup",
        "arguments": {"id": "1"},
        "requestId": asked.id,
    }
    assert status(bench, thread) == {"type": "active", "activeFlags": []}


def test_its_answer_is_the_output(bench: Bench) -> None:
    thread = bench.thread(dynamicTools=[LOOKUP])
    turn = bench.say(thread, CALL)
    items = [{"type": "inputText", "text": "hi"}, {"type": "inputImage", "imageUrl": "data:image/png;base64,AA"}]

    answer(bench, thread, {"contentItems": items, "success": True})

    seen = order.check(bench.events(thread))
    assert seen.turns == {turn.id: "completed"}
    item = bench.shown(thread)[1]
    assert {name: item[name] for name in ("type", "namespace", "tool", "arguments", "status", "success")} == {
        "type": "dynamicToolCall",
        "namespace": None,
        "tool": "lookup",
        "arguments": {"id": "1"},
        "status": "completed",
        "success": True,
    }
    assert item["contentItems"] == items
    assert 0 <= item["durationMs"] <= item["completedAtMs"] - item["startedAtMs"]
    output: Any = outputs(bench)[0]
    assert output == [
        {"type": "input_text", "text": "hi"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA"},
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"contentItems": [], "success": False},
        {"contentItems": [{"type": "inputImage", "imageUrl": "file:///etc/passwd"}], "success": True},
        {"contentItems": "hi", "success": True},
        {"contentItems": [{"type": "inputAudio", "audioUrl": "data:"}], "success": True},
        {"error": {"code": -32601, "message": "no such tool"}},
        {},
    ],
)
def test_whatever_is_no_success_is_a_failed_item_and_the_turn_goes_on(bench: Bench, given: dict[str, Any]) -> None:
    thread = bench.thread(dynamicTools=[LOOKUP])
    turn = bench.say(thread, CALL)

    answer(bench, thread, given)

    order.check(bench.events(thread))
    assert bench.turn(turn).status == "completed"
    assert (bench.shown(thread)[1]["status"], bench.shown(thread)[1]["success"]) == ("failed", False)


def test_a_tool_in_a_namespace_is_called_by_both_names(bench: Bench) -> None:
    thread = bench.thread(dynamicTools=[NAMESPACE])

    bench.say(thread, "[[tool crm__find {}]]")

    params = pending(bench, thread).params
    assert (params["namespace"], params["tool"]) == ("crm", "find")


def test_the_approval_policy_has_no_say_over_a_clients_own_tools(bench: Bench) -> None:
    thread = bench.thread(dynamicTools=[LOOKUP], approvalPolicy="never", approvalsReviewer="auto_review")

    assert bench.say(thread, CALL).phase == "parked"


def test_names_that_clients_cannot_give_their_tools_are_those_of_ours() -> None:
    assert {*TOOLS, user_shell.NAME} == RESERVED


def test_questions_are_asked_and_their_answers_are_the_output(bench: Bench) -> None:
    thread = bench.thread(collaborationMode=PLAN)

    turn = bench.say(thread, asks(QUESTION))

    asked = pending(bench, thread)
    assert asked.method == "item/tool/requestUserInput"
    assert asked.params == {
        "threadId": thread.id,
        "turnId": turn.id,
        "itemId": asked.item_id,
        "questions": [{**QUESTION, "isOther": True, "isSecret": False}],
        "isBlocking": True,
        "autoResolutionMs": None,
    }
    assert status(bench, thread) == {"type": "active", "activeFlags": ["waitingOnUserInput"]}

    answer(bench, thread, {"answers": {"q1": {"answers": ["A"]}, "other": {"answers": ["no"]}}})

    order.check(bench.events(thread))
    assert types(bench.shown(thread)) == ["userMessage", "agentMessage"]
    assert [json.loads(output) for output in outputs(bench)] == [{"answers": {"q1": {"answers": ["A"]}}}]


@pytest.mark.parametrize("given", [{}, {"answers": {}}, {"answers": ["A"]}, {"answers": {"q1": "A"}}, {"error": {}}])
def test_an_answer_that_is_none_is_told_as_such(bench: Bench, given: dict[str, Any]) -> None:
    thread = bench.thread()
    turn = bench.say(thread, asks(QUESTION))

    answer(bench, thread, given)

    assert bench.turn(turn).status == "completed"
    assert outputs(bench)[0].startswith("The user did not answer.")


def test_a_question_that_nobody_answers_in_time_is_told_as_such(open_bench: Any) -> None:
    bench = open_bench(server={"approval_timeout_seconds": -1.0})
    thread = bench.thread()
    turn = bench.say(thread, asks(QUESTION))

    sweep.expire(bench.workers[0])
    bench.run()

    assert bench.turn(turn).status == "completed"
    assert outputs(bench)[0].startswith("The user did not answer.")


def test_questions_are_offered_in_plan_mode_alone(bench: Bench) -> None:
    bench.say(bench.thread(), "hello")
    assert "request_user_input" not in tool_names(bench)

    bench.say(bench.thread(collaborationMode=PLAN), "hello")
    assert "request_user_input" in tool_names(bench)


@pytest.mark.parametrize(
    "questions", [[], [QUESTION, QUESTION], [{"id": "q"}], [QUESTION] * 4, [{**QUESTION, "options": [1]}]]
)
def test_questions_that_make_no_sense_are_told_to_the_model(bench: Bench, questions: list[dict[str, Any]]) -> None:
    thread = bench.thread()

    turn = bench.say(thread, asks(*questions))

    assert turn.status == "completed"
    assert outputs(bench)[0].startswith("request_user_input: ")


def test_a_secret_answer_is_in_no_event_and_no_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    thread = bench.thread()
    bench.say(thread, asks({**QUESTION, "isSecret": True}))

    answer(bench, thread, {"answers": {"q1": {"answers": ["hunter2"]}}})

    assert "hunter2" in outputs(bench)[0]
    assert "hunter2" not in json.dumps(bench.events(thread))
    assert "hunter2" not in caplog.text
