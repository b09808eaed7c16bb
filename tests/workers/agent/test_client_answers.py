"""Calls that a client answers: its own tools, and questions to the user. The turn is parked until the answer."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from shared.store.threads import Thread
from tests.support import order
from tests.support.images import PNG, data_url
from tests.workers.agent.test_approvals import answer, pending
from tests.workers.agent.test_turn import outputs, types
from tests.workers.builders import Bench
from workers import sweep

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


def test_client_tool_is_offered_and_its_call_parks_the_turn(bench: Bench) -> None:
    thread = bench.thread(dynamicTools=[LOOKUP, NAMESPACE])

    turn = bench.run_turn(thread, CALL)

    assert turn.phase == "parked"
    assert tool_names(bench)[-2:] == ["lookup", "crm__find"]
    approval = pending(bench, thread)
    method, params = bench.events(thread)[-1]
    assert method == approval.method == "item/tool/call"
    assert params == {
        "threadId": thread.id,
        "turnId": turn.id,
        "callId": approval.item_id,
        "namespace": None,
        "tool": "lookup",
        "arguments": {"id": "1"},
        "requestId": approval.id,
    }
    assert status(bench, thread) == {"type": "active", "activeFlags": []}


def test_client_answer_is_the_output_of_the_call(bench: Bench) -> None:
    thread = bench.thread(dynamicTools=[LOOKUP])
    turn = bench.run_turn(thread, CALL)
    items = [{"type": "inputText", "text": "hi"}, {"type": "inputImage", "imageUrl": data_url(PNG)}]

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
        {"type": "input_image", "image_url": data_url(PNG)},
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"contentItems": [], "success": False},
        {"contentItems": "hi", "success": True},
        {"contentItems": [{"type": "inputAudio", "audioUrl": "data:"}], "success": True},
        {"error": {"code": -32601, "message": "no such tool"}},
        {},
    ],
)
def test_unsuccessful_answer_fails_the_item_and_the_turn_continues(bench: Bench, given: dict[str, Any]) -> None:
    thread = bench.thread(dynamicTools=[LOOKUP])
    turn = bench.run_turn(thread, CALL)

    answer(bench, thread, given)

    order.check(bench.events(thread))
    assert bench.turn(turn).status == "completed"
    assert (bench.shown(thread)[1]["status"], bench.shown(thread)[1]["success"]) == ("failed", False)


def test_image_of_a_client_tool_that_models_refuse_is_left_out(bench: Bench) -> None:
    thread = bench.thread(dynamicTools=[LOOKUP])
    turn = bench.run_turn(thread, CALL)
    urls = ["data:image/png;base64,AAAA", "https://example.com/a.png", "file:///etc/passwd", data_url(PNG)]
    items = [{"type": "inputImage", "imageUrl": url} for url in urls]

    answer(bench, thread, {"contentItems": items, "success": True})

    assert order.check(bench.events(thread)).turns == {turn.id: "completed"}
    output: Any = outputs(bench)[0]
    assert [part["type"] for part in output] == ["input_text"] * 3 + ["input_image"]
    warnings = [params["message"] for method, params in bench.events(thread) if method == "warning"]
    assert warnings == [f"lookup: {part['text'].strip('[]')}" for part in output[:3]]


def test_namespaced_tool_is_called_by_both_names(bench: Bench) -> None:
    thread = bench.thread(dynamicTools=[NAMESPACE])

    bench.run_turn(thread, "[[tool crm__find {}]]")

    params = pending(bench, thread).params
    assert (params["namespace"], params["tool"]) == ("crm", "find")


def test_client_tools_need_no_approval(bench: Bench) -> None:
    thread = bench.thread(dynamicTools=[LOOKUP], approvalPolicy="never", approvalsReviewer="auto_review")

    assert bench.run_turn(thread, CALL).phase == "parked"


def test_answers_to_questions_are_the_output_of_the_call(bench: Bench) -> None:
    thread = bench.thread(collaborationMode=PLAN)

    turn = bench.run_turn(thread, asks(QUESTION))

    approval = pending(bench, thread)
    assert approval.method == "item/tool/requestUserInput"
    assert approval.params == {
        "threadId": thread.id,
        "turnId": turn.id,
        "itemId": approval.item_id,
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
def test_unusable_answer_is_reported_to_the_model(bench: Bench, given: dict[str, Any]) -> None:
    thread = bench.thread()
    turn = bench.run_turn(thread, asks(QUESTION))

    answer(bench, thread, given)

    assert bench.turn(turn).status == "completed"
    assert outputs(bench)[0].startswith("The user did not answer.")


def test_unanswered_question_is_reported_to_the_model(open_bench: Any) -> None:
    bench = open_bench(server={"approval_timeout_seconds": -1.0})
    thread = bench.thread()
    turn = bench.run_turn(thread, asks(QUESTION))

    sweep.expire(bench.workers[0])
    bench.run()

    assert bench.turn(turn).status == "completed"
    assert outputs(bench)[0].startswith("The user did not answer.")


def test_questions_are_offered_in_plan_mode_only(bench: Bench) -> None:
    bench.run_turn(bench.thread(), "hello")
    assert "request_user_input" not in tool_names(bench)

    bench.run_turn(bench.thread(collaborationMode=PLAN), "hello")
    assert "request_user_input" in tool_names(bench)


@pytest.mark.parametrize(
    "questions", [[], [QUESTION, QUESTION], [{"id": "q"}], [QUESTION] * 4, [{**QUESTION, "options": [1]}]]
)
def test_invalid_questions_are_reported_to_the_model(bench: Bench, questions: list[dict[str, Any]]) -> None:
    thread = bench.thread()

    turn = bench.run_turn(thread, asks(*questions))

    assert turn.status == "completed"
    assert outputs(bench)[0].startswith("request_user_input: ")


def test_secret_answer_appears_in_no_event_and_no_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    thread = bench.thread()
    bench.run_turn(thread, asks({**QUESTION, "isSecret": True}))

    answer(bench, thread, {"answers": {"q1": {"answers": ["hunter2"]}}})

    assert "hunter2" in outputs(bench)[0]
    assert "hunter2" not in json.dumps(bench.events(thread))
    assert "hunter2" not in caplog.text
