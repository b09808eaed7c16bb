"""MCP servers of strangers: what they answer cannot fill a worker's memory, and what they are given stays theirs."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import mcp_types
import pytest
from mcp.shared.message import SessionMessage

from shared.config.mcp_servers import read_server
from tests.support import mcp_program
from tests.support.images import png
from tests.support.wait import until
from tests.workers.builders import Bench
from workers.mcp import lines, results, sandboxed_program
from workers.mcp.guarded_http import guarded
from workers.mcp.lines import MAX_LINE_BYTES
from workers.mcp.pool import NO_FOLDER
from workers.workspace.folders import workspace_for

PACKED = gzip.compress(b"[" + b"0," * (1 << 20) + b"0]")


class Handler(BaseHTTPRequestHandler):
    """Answers as the path says, and keeps what was accepted."""

    accepted: list[str | None]

    def do_GET(self) -> None:
        self.accepted.append(self.headers.get("Accept-Encoding"))
        self.send_response(200)
        kind = "text/event-stream" if self.path.endswith("events") else "application/json"
        self.send_header("Content-Type", kind)
        if self.path.startswith("/packed"):
            self.send_header("Content-Encoding", "gzip")
        bodies = {
            "/long": b"0" * (2 * MAX_LINE_BYTES + 1),
            "/long-events": b"0" * (2 * MAX_LINE_BYTES + 1),
            "/crlf-events": (b"data: " + b"x" * 60_000 + b"\r\n\r\n") * 300,
            "/comment-events": b": still here\n" * 10_001,
        }
        body = bodies.get(self.path, PACKED)
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            pass  # the client has read enough

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Handler.accepted = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def get(url: str, path: str, *, allow_private: bool = True) -> bytes:
    async def send() -> bytes:
        async with httpx2.AsyncClient(transport=guarded(url, allow_private=allow_private), trust_env=False) as client:
            return (await client.get(url + path)).content

    return asyncio.run(send())


@pytest.mark.parametrize("path", ["/packed", "/packed-events"])
def test_a_packed_answer_is_refused_before_it_is_unpacked(url: str, path: str) -> None:
    with pytest.raises(httpx2.ReadError, match="packs its answers"):
        get(url, path)

    assert Handler.accepted == ["identity"]


def test_an_answer_ends_at_its_limit(url: str) -> None:
    assert len(get(url, "/long")) <= MAX_LINE_BYTES  # it is cut, so that it is no JSON and its request fails


def events(url: str, path: str) -> int:
    """Return how many events a stream has, read as the SDK does."""

    async def count() -> int:
        transport = guarded(url, allow_private=True)
        async with httpx2.AsyncClient(transport=transport, trust_env=False) as client, client.sse(url + path) as stream:
            return len([one async for one in stream])

    return asyncio.run(count())


def test_an_event_without_an_end_ends_the_stream(url: str) -> None:
    with pytest.raises(httpx2.SSEError, match="byte limit"):
        events(url, "/long-events")


def test_a_stream_of_events_has_no_limit_whatever_its_lines_end_with(url: str) -> None:
    assert events(url, "/crlf-events") == 300


def test_a_stream_of_events_that_is_read_as_a_whole_ends_at_the_limit(url: str) -> None:
    assert len(get(url, "/crlf-events")) <= MAX_LINE_BYTES


def test_a_stream_that_floods_leaves_pauses_to_others(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINES_AT_ONCE", 1)
    monkeypatch.setattr(lines, "PAUSE_SECONDS", 0.0)
    pauses: list[int] = []
    after = lines.Pauses.after

    async def count(self: lines.Pauses, number: int, size_bytes: int = 0) -> None:
        pauses.append(number)
        await after(self, number, size_bytes)

    monkeypatch.setattr(lines.Pauses, "after", count)

    assert events(url, "/comment-events") == 0
    assert sum(pauses) > 10_000


def test_bytes_that_are_no_message_cost_their_sender_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    asyncio.run(lines.Pauses().after(1, MAX_LINE_BYTES))

    assert slept == [MAX_LINE_BYTES / lines.BYTES_OF_A_LINE * lines.PAUSE_SECONDS / lines.LINES_AT_ONCE]


@pytest.mark.parametrize("text", ["[" * 10_000, "[1]", "7", '{"a": 1}', '{"method": 7}', '{"result": 1}', "{", ""])
def test_a_line_that_is_no_message_is_an_error(text: str) -> None:
    assert isinstance(sandboxed_program._message(text.encode()), ValueError)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"id": 1, "method": "x"}, mcp_types.JSONRPCRequest),
        ({"method": "x"}, mcp_types.JSONRPCNotification),
        ({"id": 1, "result": {}}, mcp_types.JSONRPCResponse),
        ({"id": None, "error": {"code": 1, "message": "m"}}, mcp_types.JSONRPCError),
    ],
)
def test_the_members_of_a_line_say_which_message_it_is(message: dict[str, Any], kind: type) -> None:
    found = sandboxed_program._message(json.dumps({"jsonrpc": "2.0", **message}).encode())

    assert isinstance(found, SessionMessage)
    assert type(found.message) is kind


def test_many_parts_and_large_images_of_a_result_are_left_out() -> None:
    data = base64.b64encode(png(filler=os.urandom(2 << 20))).decode()
    image = {"type": "image", "mimeType": "image/png", "data": data}
    content = [image, image, *({"type": "text", "text": ""} for _ in range(10_000))]

    parts = results.output_of({"content": content}, 1.0)

    assert len(parts) == results.MAX_PARTS + 2
    assert sum("image_url" in part for part in parts if isinstance(part, dict)) == 1
    assert "9746 of 10002 parts are left out" in str(parts[-1])


def test_a_private_address_is_asked_only_if_the_operator_allows_it(url: str) -> None:
    assert get(url, "/plain") == PACKED
    with pytest.raises(httpx2.ConnectError):
        get(url, "/plain", allow_private=False)

    assert len(Handler.accepted) == 1


def test_a_server_with_too_many_tools_is_not_used(open_bench: Callable[..., Bench]) -> None:
    table = {"command": mcp_program.INTERPRETER, "args": mcp_program.arguments("tools=names"), "required": True}
    bench = open_bench(mcp_servers={"demo": read_server("demo", table)})
    names = "\n".join(f"{number:05}{'x' * 1000}" for number in range(5000))
    (bench.cwd / "names").write_text(names)

    turn = bench.run_turn(bench.thread(sandboxPolicy={"type": "readOnly"}), "[[say Done.]]")

    assert turn.error is not None
    assert "its answers to tools/list have more than 4 MiB" in turn.error["message"]


@pytest.mark.parametrize("given", [{"env": {"TOKEN": "canary"}}, {}], ids=["with variables", "without"])
def test_a_program_with_variables_loads_nothing_that_commands_of_the_thread_can_write(
    open_bench: Callable[..., Bench], given: dict[str, object]
) -> None:
    script = 'cd "$1" || exit; echo "$OLDPWD $HOME" > new; mv new found'
    servers: dict[str, object] = {}
    bench = open_bench(mcp_servers=servers)
    thread = bench.thread(owner="somebody")
    own = workspace_for(bench.workers[0].config.server.workspaces_dir, "somebody", thread.id)
    servers["demo"] = read_server("demo", {"command": "sh", "args": ["-c", script, "sh", str(own)], **given})
    bench.workers[0].store.threads.change_settings(thread.id, "somebody", {"cwd": str(own)})

    bench.run_turn(thread, "[[say Done.]]")
    until((own / "found").exists)

    assert (own / "found").read_text() == (f"/ {NO_FOLDER}\n" if given else f"{own} /tmp\n")
