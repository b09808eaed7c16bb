"""MCP servers that are addresses: what is sent to them, and which addresses are never reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.config.mcp_servers import McpServer, read_server
from tests.support.mcp_address import McpAddress
from tests.workers.builders import Bench
from tests.workers.mcp.test_mcp_tool import outputs, text_of
from workers.mcp import lines

Open = Callable[..., Bench]


def address(url: str, **settings: Any) -> dict[str, McpServer]:
    table = {"url": url, "required": True, "allow_private": True, **settings}
    return {"demo": read_server("demo", table, {"TOKEN": "secret-1"})}


@pytest.mark.parametrize("as_events", [False, True])
def test_a_tool_of_an_address_is_called_with_its_headers(
    open_bench: Open, monkeypatch: pytest.MonkeyPatch, as_events: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nothing listens there
    with McpAddress("secret-1", as_events=as_events) as server:
        servers = address(server.url, bearer_token_env_var="TOKEN", http_headers={"X-Team": "core"})
        bench = open_bench(mcp_servers=servers)
        thread = bench.thread()

        turn = bench.run_turn(thread, '[[tool mcp__demo::echo {"text": "hello"}]]')
        bench.workers[0].mcp.close()

        assert turn.status == "completed"
        assert text_of(outputs(bench)[-1]) == "echo: hello"
        methods = [message["method"] for kind, _, message in server.requests if kind == "POST"]
        assert methods == ["initialize", "notifications/initialized", "tools/list", "tools/call"]
        assert {headers["x-team"] for kind, headers, _ in server.requests if kind == "POST"} == {"core"}
        assert server.requests[-1][0] == "DELETE"
    assert "secret-1" not in str(bench.events(thread)) + str(bench.model.requests[-1].body)


def test_a_server_that_speaks_only_http_and_sse_is_asked_too(open_bench: Open) -> None:
    with McpAddress("secret-1", legacy=True) as server:
        bench = open_bench(mcp_servers=address(server.url, bearer_token_env_var="TOKEN"))

        bench.run_turn(bench.thread(), '[[tool mcp__demo::echo {"text": "hello"}]]')

        assert text_of(outputs(bench)[-1]) == "echo: hello"
        bench.workers[0].mcp.close()


def test_a_server_that_was_restarted_is_connected_again_by_the_next_turn(open_bench: Open) -> None:
    with McpAddress() as server:
        bench = open_bench(mcp_servers=address(server.url))
        thread = bench.thread()

        def echo() -> str:
            bench.run_turn(thread, '[[tool mcp__demo::echo {"text": "hello"}]]')
            return text_of(outputs(bench)[-1])

        assert echo() == "echo: hello"
        server.session = "session-2"
        assert echo().endswith("Transport closed")
        assert echo() == "echo: hello"


def test_a_stream_of_events_that_ended_is_opened_again(open_bench: Open) -> None:
    with McpAddress(legacy=True) as server:
        bench = open_bench(mcp_servers=address(server.url))
        thread = bench.thread()
        bench.run_turn(thread, "hello")

        server.answers.put(None)
        bench.run_turn(thread, '[[tool mcp__demo::echo {"text": "first"}]]')  # may still find the stream closed
        bench.run_turn(thread, '[[tool mcp__demo::echo {"text": "second"}]]')

        assert text_of(outputs(bench)[-1]) == "echo: second"
        bench.workers[0].mcp.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_a_private_address_is_refused_unless_the_operator_allows_it(open_bench: Open, host: str) -> None:
    with McpAddress() as server:
        url = server.url.replace("127.0.0.1", host)
        bench = open_bench(mcp_servers=address(url, allow_private=False))

        turn = bench.run_turn(bench.thread(), "hello")

        assert turn.error is not None
        assert "private, local and reserved addresses are refused" in turn.error["message"]
        assert server.requests == []


def test_a_redirect_to_another_host_is_not_followed(open_bench: Open) -> None:
    with McpAddress() as other, McpAddress(redirect=other.url) as server:
        bench = open_bench(mcp_servers=address(server.url))

        turn = bench.run_turn(bench.thread(), "hello")

        assert turn.status == "failed"
        assert len(server.requests) > 0
        assert other.requests == []


def test_an_answer_that_is_too_long_fails_the_call_alone(open_bench: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with McpAddress() as server:
        bench = open_bench(mcp_servers=address(server.url))
        thread = bench.thread()

        size = lines.MAX_LINE_BYTES + 1
        bench.run_turn(thread, f'[[tool mcp__demo::big {{"bytes": {size}}}]][[tool mcp__demo::echo {{"text": "b"}}]]')

        long, short = outputs(bench)
        assert text_of(long).startswith("tool call error: tool call failed for `demo/big`")
        assert text_of(short) == "echo: b"
