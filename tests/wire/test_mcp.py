"""MCP servers over the wire, frame by frame as the original sends them; recorded/mcp.jsonl has its frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support import mcp_program
from tests.support.deployment import Deployment
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import check_order, of_thread, run_turn, start_thread, start_turn, stored_turn, wait_for_end

RECORDED = [json.loads(line) for line in (Path(__file__).parent / "recorded" / "mcp.jsonl").read_text().splitlines()]
VOLATILE = {"id", "threadId", "turnId", "requestId", "startedAtMs", "completedAtMs", "durationMs"}
METHODS = {frame["frame"]["method"] for frame in RECORDED}


def demo(*switches: str, **settings: Any) -> dict[str, Any]:
    """Return `config` of thread/start, as editors send it."""
    program = {"command": mcp_program.INTERPRETER, "args": mcp_program.arguments(*switches)}
    table = {**program, "required": True, **settings}
    return {"mcp_servers": {"demo": table}}


def frames_about_mcp(client: ProtocolClient, thread_id: str, start: int = 0) -> list[dict[str, Any]]:
    """Return the frames about MCP servers that a client got, without what differs from run to run."""
    found = [frame for frame in of_thread(client.received[start:], thread_id) if frame.get("method") in METHODS]
    about = [one for one in found if one["params"].get("item", {}).get("type") in (None, "mcpToolCall")]
    return [plain({key: one[key] for key in ("id", "method", "params") if key in one}) for one in about]


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {key: type(one).__name__ if key in VOLATILE else plain(one) for key, one in value.items()}
    return value


def recorded(kind: str) -> list[dict[str, Any]]:
    return [plain(one["frame"]) for one in RECORDED if one["of"] == kind]


def test_a_call_is_shown_stored_and_forked_as_in_the_original(deployment: Deployment) -> None:
    client = deployment.connect()
    thread_id = start_thread(client, config=demo())

    turn = run_turn(client, thread_id, '[[tool mcp__demo::echo {"text": "hello"}]][[say Done.]]')

    assert frames_about_mcp(client, thread_id) == recorded("call")
    check_order(of_thread(client.received, thread_id))
    item = stored_turn(client, thread_id, turn["id"])["items"][1]
    assert plain(item) == recorded("call")[-1]["params"]["item"]
    forked = client.request("thread/fork", {"threadId": thread_id})["thread"]["turns"][0]["items"][1]
    assert plain(forked) == plain(item)
    sent = deployment.model.requests[-1].body["input"]
    assert {"type": "function_call", "name": "echo", "namespace": "mcp__demo"}.items() <= sent[-2].items()
    assert sent[-1]["output"][1] == {"type": "input_text", "text": "echo: hello"}


def test_an_approval_is_answered_on_another_node(deployment: Deployment) -> None:
    client, other = deployment.connect(), deployment.connect(1)
    thread_id = start_thread(client, config=demo(), approvalPolicy="on-request")
    turn_id = start_turn(client, thread_id, '[[tool mcp__demo::write {"text": "a"}]][[say Done.]]')
    asked = client.wait_for_method("mcpServer/elicitation/request")

    other.send({"id": asked["id"], "result": {"action": "accept", "content": {}, "_meta": None}})

    assert wait_for_end(client, turn_id)["status"] == "completed"
    found = frames_about_mcp(client, thread_id)  # another worker may go on, which starts the server again
    assert [one for one in found if not one["method"].startswith("mcpServer/startup")] == recorded("approval")
    check_order(of_thread(client.received, thread_id))


def test_a_question_of_a_server_is_sent_again_to_a_client_that_comes_back(deployment: Deployment) -> None:
    client = deployment.connect()
    thread_id = start_thread(client, config=demo(), approvalPolicy="on-request")
    turn_id = start_turn(client, thread_id, '[[tool mcp__demo::ask {"kind": "url"}]][[say Done.]]')
    asked = client.wait_for_method("mcpServer/elicitation/request")
    client.drop()

    back = deployment.connect(1)
    back.request("thread/resume", {"threadId": thread_id})
    again = back.wait_for_method("mcpServer/elicitation/request")
    back.send({"id": again["id"], "result": {"action": "accept", "content": None, "_meta": None}})

    assert wait_for_end(back, turn_id)["status"] == "completed"
    assert (again["id"], plain(again["params"])) == (asked["id"], recorded("url")[1]["params"])
    item = stored_turn(back, thread_id, turn_id)["items"][1]
    assert item["result"]["content"][0]["text"] == '{"action": "accept", "content": {}}'


def test_servers_are_listed_asked_and_reloaded_by_a_client(deployment: Deployment) -> None:
    client = deployment.connect()
    thread_id = start_thread(client, config=demo(env={"KEY": "secret-1"}))
    edit = {"keyPath": "mcp_servers.own", "value": {"command": "/does/not/exist"}, "mergeStrategy": "replace"}

    (listed,) = client.request("mcpServerStatus/list", {"threadId": thread_id, "limit": 1})["data"]
    asked = {"threadId": thread_id, "server": "demo", "tool": "echo", "arguments": {"text": "a"}}
    called = client.request("mcpServer/tool/call", asked)
    client.request("config/value/write", edit)
    assert client.request("config/mcpServer/reload") == {}
    both = client.request("mcpServerStatus/list", {"threadId": thread_id, "detail": "toolsAndAuthOnly"})["data"]
    turn = run_turn(client, thread_id, "hello")
    client.request("config/value/write", {**edit, "value": None})

    assert (listed["name"], listed["runtimeStatus"], "echo" in listed["tools"]) == ("demo", "connected", True)
    assert called["content"] == [{"type": "text", "text": "echo: a"}]
    assert [(one["name"], one["runtimeStatus"]) for one in both] == [("demo", "connected"), ("own", "failed")]
    assert turn["status"] == "completed"
    failed = client.wait_for(lambda frame: frame.get("params", {}).get("status") == "failed")["params"]
    assert failed["error"].startswith("MCP client for `own` failed to start: MCP startup failed: No such file")
    assert "secret-1" not in str(client.received)
