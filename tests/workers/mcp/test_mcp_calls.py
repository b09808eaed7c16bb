"""What clients ask of MCP servers themselves, by worker calls, and what a reload changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared.config.mcp_servers import read_server
from shared.errors import NotFound
from shared.events import turn_signals
from shared.store.users import LOCAL_USER
from tests.support import mcp_program
from tests.support.mcp_address import McpAddress
from tests.support.wait import until
from tests.workers.builders import Bench
from tests.workers.mcp.test_mcp_tool import outputs, program
from tests.workers.tasks.test_run_call import ask

Open = Callable[..., Bench]


def listed(bench: Bench, thread_id: str | None) -> dict[str, Any]:
    data = ask(bench, "mcpServerStatus/list", {"thread_id": thread_id, "full": True})["data"]
    return {one["name"]: one for one in data}


def test_the_servers_of_a_thread_are_listed_with_their_tools(open_bench: Open) -> None:
    broken = read_server("broken", {"command": "/does/not/exist"})
    off = read_server("off", {"command": "x", "enabled": False})
    bench = open_bench(mcp_servers={**program(enabled_tools=["echo"]), "broken": broken, "off": off})
    thread = bench.thread()

    found, without_thread = listed(bench, thread.id), listed(bench, None)

    assert {name: one["runtimeStatus"] for name, one in found.items()} == {
        "broken": "failed",
        "demo": "connected",
        "off": "disabled",
    }
    assert found["broken"]["toolsError"] == "MCP startup failed: No such file or directory (os error 2)"
    assert found["demo"]["serverInfo"] == {
        "name": "demo-server",
        "title": "Demo",
        "version": "1.2.3",
        "description": None,
        "icons": None,
        "websiteUrl": None,
    }
    assert found["demo"]["tools"] == {"echo": mcp_program.TOOLS[0]}
    assert found["demo"]["resources"][0]["uri"] == "demo://one"
    assert found["demo"]["resourceTemplates"] == [{"uriTemplate": "demo://{id}", "name": "any"}]
    assert without_thread["demo"]["runtimeStatus"] is None
    assert without_thread["demo"]["tools"].keys() == {"echo"}


def test_a_stream_that_says_nothing_is_given_up_in_time_and_closed(open_bench: Open) -> None:
    with McpAddress(legacy=True, silent=True) as server:
        table = {"url": server.url, "allow_private": True, "startup_timeout_sec": 0.2}
        bench = open_bench(mcp_servers={"demo": read_server("demo", table)})

        found = listed(bench, None)

        assert "timed out handshaking with MCP server after 0.2s" in found["demo"]["toolsError"]
        assert bench.workers[0].mcp.count() == 0


def test_servers_that_are_started_for_a_list_count_like_those_of_threads(open_bench: Open) -> None:
    more = replace(program()["demo"], name="more")
    bench = open_bench(mcp_servers={**program(), "more": more}, server={"mcp_servers_per_user": 1})

    found = listed(bench, None)

    assert sorted(bool(one["tools"]) for one in found.values()) == [False, True]
    assert "too many MCP servers run here" in str(found)
    assert bench.workers[0].mcp.count() == 0


def test_a_list_that_is_none_hides_no_other_server(open_bench: Open) -> None:
    odd = replace(program("resources=7")["demo"], name="odd")
    bench = open_bench(mcp_servers={**program(), "odd": odd})
    thread = bench.thread()

    found = listed(bench, thread.id)
    bench.run_turn(thread, '[[tool list_mcp_resources {}]][[tool list_mcp_resources {"server": "odd"}]]')

    assert [found["demo"]["resources"][0]["uri"], found["odd"]["resources"]] == ["demo://one", []]
    assert '"server":"demo"' in outputs(bench)[0]
    assert outputs(bench)[1] == '{"server":"odd","resources":[]}'


def test_a_tool_and_a_resource_are_asked_without_a_turn(open_bench: Open) -> None:
    hasty = replace(program()["demo"], name="hasty", tool_timeout_sec=0.2)
    bench = open_bench(mcp_servers={**program(), "hasty": hasty})
    thread = bench.thread(approvalPolicy="untrusted")

    def call(tool: str, server: str = "demo", **arguments: Any) -> Any:
        params = {"thread_id": thread.id, "server": server, "tool": tool, "arguments": arguments, "meta": {"a": 1}}
        return ask(bench, "mcpServer/tool/call", params)

    assert call("write", text="a") == {"result": {"content": [{"type": "text", "text": "write: a"}]}}
    assert call("rpcerr")["error"] == {"code": -32011, "message": "server says no", "data": {"why": "x"}}
    assert call("nosuch")["error"]["code"] == -32602  # the server says so itself
    assert call("echo", server="nope")["error"]["message"] == "unknown MCP server 'nope'"
    assert call("ask")["result"]["content"][0]["text"] == '{"action": "decline"}'
    slow = call("wait", server="hasty", file=str(bench.cwd / "never"))
    read = ask(bench, "mcpServer/resource/read", {"thread_id": None, "server": "demo", "uri": "demo://one"})

    assert slow["error"]["message"] == "tool call failed for `hasty/wait`: timed out awaiting tools/call after 0.2s"
    assert read["result"]["contents"][0]["text"] == "the first one"
    assert bench.shown(thread) == []
    of_nobody = {"thread_id": thread.id, "server": "demo", "tool": "echo"}
    assert ask(bench, "mcpServer/tool/call", of_nobody, "bob")[0] == NotFound.__name__


def test_a_reload_follows_config_toml_and_keeps_unchanged_programs(open_bench: Open, tmp_path: Path) -> None:
    bench = open_bench()
    worker, thread, log = bench.workers[0], bench.thread(), bench.cwd / "log"
    table = f"""
[mcp_servers.demo]
command = "{mcp_program.INTERPRETER}"
args = {json.dumps(mcp_program.arguments(f"log={log}"))}
required = true
"""

    def reload(text: str) -> None:
        before = worker.mcp.generation(LOCAL_USER)
        (bench.home / "config.toml").write_text(text)
        turn_signals.publish(bench.connect(), turn_signals.RELOAD_MCP, LOCAL_USER)
        until(lambda: worker.mcp.generation(LOCAL_USER) > before)

    def offered() -> list[str]:
        bench.run_turn(thread, "hello")
        spaces = [one for one in bench.model.requests[-1].body["tools"] if one["type"] == "namespace"]
        return [tool["name"] for space in spaces for tool in space["tools"]]

    def statuses() -> list[str]:
        return [one["status"] for method, one in bench.events(thread) if method.startswith("mcpServer/startup")]

    assert offered() == []
    reload(table)
    assert "echo" in offered()
    reload(table + 'enabled_tools = ["echo"]\n')
    assert offered() == ["echo"]
    reload("mcp_servers = 5")
    assert offered() == ["echo"]
    assert log.read_text().count('"pid"') == 1
    until(lambda: len(statuses()) >= 4)
    assert statuses() == ["starting", "ready", "ready", "ready"]
    reload("")
    assert offered() == []


def test_sessions_end_when_they_are_not_used_and_with_the_worker(open_bench: Open) -> None:
    bench = open_bench(mcp_servers=program(), server={"mcp_idle_seconds": 0.2})
    pool = bench.workers[0].mcp
    bench.run_turn(bench.thread(), "hello")

    until(lambda: not pool.count())

    turn = bench.begin(bench.thread(), '[[tool mcp__demo::wait {"file": "%s"}]]' % (bench.cwd / "go"))
    running = bench.start_run()
    until((bench.cwd / "go.begun").exists)
    assert pool.count() == 1  # it is in use, however long the turn takes
    (bench.cwd / "go").touch()
    running.join()
    pool.close()
    assert (bench.turn(turn).status, pool.count()) == ("completed", 0)


def test_a_user_has_a_limited_number_of_sessions(open_bench: Open) -> None:
    bench = open_bench(mcp_servers=program(), server={"mcp_servers_per_user": 1})
    pool = bench.workers[0].mcp
    first, second = bench.thread(), bench.thread()
    bench.run_turn(first, "hello")

    assert bench.run_turn(second, "hello").status == "completed"
    assert pool.count() == 1

    second_server = replace(program()["demo"], name="more")
    pool.operator_servers = {**program(), "more": second_server}
    turn = bench.run_turn(first, "hello")
    assert turn.error is not None
    assert "too many MCP servers run here" in turn.error["message"]
