"""Turns that are more than a message and its answer: compaction, shell commands, client tools, plans and reviews."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.deployment import Deployment
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.turns import check_order, of_thread, run_turn, start_thread, start_turn, stored_turn, wait_for_end

PLAN = {"mode": "plan", "settings": {"model": "mock-model", "reasoning_effort": None, "developer_instructions": None}}
LOOKUP = {"type": "function", "name": "lookup", "description": "d", "inputSchema": {"type": "object"}}
QUESTION = {"id": "q1", "header": "H", "question": "Which?", "options": [{"label": "A", "description": "a"}]}


def next_turn(client: ProtocolClient, thread_id: str, method: str, **params: Any) -> dict[str, Any]:
    """Start a turn by a method and wait for its end. Return the stored turn, with its items."""
    start = len(client.received)
    client.request(method, {"threadId": thread_id, **params})
    turn_id = client.wait_for_method("turn/started", after=start)["params"]["turn"]["id"]
    wait_for_end(client, turn_id)
    check_order(of_thread(client.received, thread_id))
    return stored_turn(client, thread_id, turn_id)


def types(turn: dict[str, Any]) -> list[str]:
    return [item["type"] for item in turn["items"]]


def test_compaction_on_request_is_a_turn_with_one_item(deployment: Deployment) -> None:
    client = deployment.connect()
    thread_id = start_thread(client)
    run_turn(client, thread_id, "remember the number 42")

    turn = next_turn(client, thread_id, "thread/compact/start")

    assert (turn["status"], types(turn)) == ("completed", ["contextCompaction"])
    assert run_turn(client, thread_id, "go on")["items"][0]["text"] == "You said: go on"


def test_a_shell_command_of_the_user_is_a_turn_with_its_output(deployment: Deployment) -> None:
    client = deployment.connect()
    thread_id = start_thread(client)

    turn = next_turn(client, thread_id, "thread/shellCommand", command="echo one | tr o O; exit 3")

    (item,) = turn["items"]
    assert (item["source"], item["status"], item["exitCode"]) == ("userShell", "failed", 3)
    assert item["aggregatedOutput"].endswith("One\n")


def test_the_model_calls_a_tool_of_the_client(deployment: Deployment) -> None:
    client = deployment.connect()
    client.answer = lambda request: {"contentItems": [{"type": "inputText", "text": "found"}], "success": True}
    thread_id = start_thread(client, dynamicTools=[LOOKUP])

    turn = run_turn(client, thread_id, '[[tool lookup {"id": "1"}]][[say Then.]]')

    check_order(of_thread(client.received, thread_id))
    call = stored_turn(client, thread_id, turn["id"])["items"][1]
    assert (call["type"], call["status"], call["success"]) == ("dynamicToolCall", "completed", True)
    with pytest.raises(RpcError, match="is a tool of the server"):
        start_thread(client, dynamicTools=[{**LOOKUP, "name": "exec_command"}])


def test_a_question_to_the_user_can_be_answered_on_another_node(deployment: Deployment) -> None:
    client, other = deployment.connect(), deployment.connect(1)
    thread_id = start_thread(client)
    turn_id = start_turn(
        client,
        thread_id,
        f"[[tool request_user_input {json.dumps({'questions': [QUESTION]})}]][[say Then.]]",
        collaborationMode=PLAN,
    )
    asked = client.wait_for_method("item/tool/requestUserInput")

    other.send({"id": asked["id"], "result": {"answers": {"q1": {"answers": ["A"]}}}})

    assert wait_for_end(client, turn_id)["status"] == "completed"
    check_order(of_thread(client.received, thread_id))


def test_a_proposed_plan_becomes_an_item(deployment: Deployment) -> None:
    client = deployment.connect()
    thread_id = start_thread(client)

    turn = run_turn(client, thread_id, "[[say <proposed_plan>Do it.</proposed_plan>]]", collaborationMode=PLAN)

    check_order(of_thread(client.received, thread_id))
    assert stored_turn(client, thread_id, turn["id"])["items"][-1]["text"] == "Do it."


def test_a_review_is_a_turn_with_review_items(deployment: Deployment) -> None:
    client = deployment.connect()
    thread_id = start_thread(client)
    target = {"type": "custom", "instructions": "[[say No findings.]]"}

    turn = next_turn(client, thread_id, "review/start", target=target, delivery="inline")

    assert types(turn) == ["enteredReviewMode", "userMessage", "agentMessage", "exitedReviewMode"]
    assert turn["items"][-1]["review"] == "No findings."
    with pytest.raises(RpcError, match="unknown variant `detached`"):
        client.request("review/start", {"threadId": thread_id, "target": target, "delivery": "detached"})
    for wrong in ({"type": "commit", "sha": "; rm"}, {"type": "baseBranch", "branch": "--x"}, {"type": "custom"}):
        with pytest.raises(RpcError, match="target"):
            client.request("review/start", {"threadId": thread_id, "target": wrong})
