"""Sessions with MCP servers: whatever the server and the rest of the process do, each one starts once and ends."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import mcp_types
import pytest
from mcp.client._transport import TransportStreams
from mcp.shared.message import SessionMessage

from shared.config.mcp_servers import McpServer, read_server
from tests.support.wait import until
from tests.workers.builders import Bench
from tests.workers.mcp.test_mcp_tool import program
from workers.mcp import FAILED, READY, lines
from workers.mcp import pool as pool_module
from workers.mcp.errors import McpError, McpStopped
from workers.mcp.lines import Ending
from workers.mcp.pool import McpPool, Place
from workers.mcp.session import MAX_QUESTIONS, McpSession
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy

INITIALIZED = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
FORM = {"mode": "form", "message": "Your name?", "requestedSchema": {"type": "object", "properties": {}}}
Said = Mapping[str, Any]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def server(**settings: Any) -> McpServer:
    return read_server("demo", {"command": "x", **settings})


class Scripted:
    """A server within the process. heard: all that it was sent; answer: what it says to a message"""

    def __init__(self, answer: Callable[[Said], list[Said]]) -> None:
        self.heard: list[Said] = []
        self._answer = answer

    @asynccontextmanager
    async def connect(self, _ending: Ending) -> AsyncIterator[TransportStreams]:
        said, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write, sent = anyio.create_memory_object_stream[SessionMessage](0)
        waiting, to_say = anyio.create_memory_object_stream[Said](float("inf"))

        async def listen() -> None:
            async for message in sent:
                self.heard.append(message.message.model_dump(by_alias=True, exclude_unset=True))
                for one in self._answers(self.heard[-1]):
                    waiting.send_nowait(one)

        async def speak() -> None:
            async for one in to_say:
                raw = json.dumps({"jsonrpc": "2.0", **one})
                await said.send(SessionMessage(mcp_types.jsonrpc_message_adapter.validate_json(raw, by_name=False)))

        async with anyio.create_task_group() as tasks, said, read, write, sent, waiting, to_say:
            tasks.start_soon(listen)
            tasks.start_soon(speak)
            yield read, write
            tasks.cancel_scope.cancel()

    def _answers(self, message: Said) -> list[Said]:
        if answers := self._answer(message):
            return answers
        return [{"id": message["id"], "result": INITIALIZED}] if message.get("method") == "initialize" else []


def nothing(_session: McpSession) -> None:
    pass


@asynccontextmanager
async def unreachable(_ending: Ending) -> AsyncIterator[TransportStreams]:
    await asyncio.Event().wait()
    raise AssertionError
    yield


def test_a_session_that_is_closed_while_it_starts_ends(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(20):
        session = McpSession(server(startup_timeout_sec=600), unreachable, loop, nothing)
        session.close()

        assert session.wait_closed(30)
        assert (session.state, session.error and session.error.phrase) == (FAILED, "the session was closed")


def test_a_server_that_is_not_reached_in_time_is_given_up(loop: asyncio.AbstractEventLoop) -> None:
    session = McpSession(server(startup_timeout_sec=0.1), unreachable, loop, nothing)

    assert session.settled.wait(30)
    assert session.state == FAILED
    assert session.error is not None
    assert "timed out handshaking" in session.error.listed
    assert session.wait_closed(30)


def test_a_list_without_an_end_fails_the_start(loop: asyncio.AbstractEventLoop) -> None:
    def answer(message: Said) -> list[Said]:
        match message.get("method"):
            case "initialize":
                return [{"id": message["id"], "result": {**INITIALIZED, "capabilities": {"tools": {}}}}]
            case "tools/list":
                return [{"id": message["id"], "result": {"tools": [], "nextCursor": "more"}}]
        return []

    session = McpSession(server(startup_timeout_sec=60), Scripted(answer).connect, loop, nothing)

    assert session.settled.wait(60)
    assert session.state == FAILED
    assert session.error is not None
    assert "its answers to tools/list have more than 50 pages" in session.error.listed
    assert session.wait_closed(30)


def test_a_session_outlives_the_time_limit_of_its_start(loop: asyncio.AbstractEventLoop) -> None:
    scripted = Scripted(lambda message: [{"id": message["id"], "result": {}}] if message.get("method") == "x" else [])
    session = McpSession(server(startup_timeout_sec=30), scripted.connect, loop, nothing)
    assert session.settled.wait(30)
    assert session.state == READY

    loop.call_soon_threadsafe(session._give_up)  # the time limit comes

    assert session.request("x", {}, timeout_s=30) == {}
    session.close()
    assert session.wait_closed(30)


def test_a_server_that_holds_up_the_end_of_its_session_is_cut_off(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.mcp.session.END_SECONDS", 0.05)
    scripted = Scripted(lambda _: [])

    @asynccontextmanager
    async def clinging(ending: Ending) -> AsyncIterator[TransportStreams]:
        async with scripted.connect(ending) as streams:
            try:
                yield streams
            finally:
                await asyncio.Event().wait()

    session = McpSession(server(), clinging, loop, nothing)
    assert session.settled.wait(30)
    assert session.state == READY

    session.close()

    assert session.wait_closed(30)


def test_a_start_that_fails_while_it_is_stopped_is_reported_by_nobody_else(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    said = threading.Event()

    @asynccontextmanager
    async def failing(_ending: Ending) -> AsyncIterator[TransportStreams]:
        try:
            said.set()
            await asyncio.Event().wait()
        finally:
            raise McpError("canary of the server")
        yield

    session = McpSession(server(), failing, loop, nothing)
    assert said.wait(30)
    session.close()
    assert session.wait_closed(30)
    del session

    assert "canary" not in caplog.text


def test_a_server_that_asks_without_end_is_declined_and_each_question_answered(
    loop: asyncio.AbstractEventLoop,
) -> None:
    asked = [{"id": 1000 + number, "method": "elicitation/create", "params": FORM} for number in range(50)]
    scripted = Scripted(lambda message: asked if message.get("method") == "tools/call" else [])
    session = McpSession(server(), scripted.connect, loop, nothing)
    assert session.settled.wait(30)
    began = threading.Event()

    def ask(_question: Said, _is_over: Callable[[], bool]) -> Said:
        began.set()
        until(lambda: len(answers(scripted)) == 50 - MAX_QUESTIONS)  # the others are declined meanwhile
        raise McpStopped("stopped")

    with pytest.raises(McpStopped):
        session.request("tools/call", {"name": "x"}, timeout_s=60, ask=ask)

    assert began.is_set()
    until(lambda: len(answers(scripted)) == 50)
    declined = [one for one in answers(scripted) if one.get("result") == {"action": "decline"}]
    assert len(declined) == 49  # and an error for the one that was asked
    session.close()
    assert session.wait_closed(30)


def answers(scripted: Scripted) -> list[Said]:
    return [one for one in scripted.heard if "method" not in one and one["id"] >= 1000]


def test_a_question_that_the_server_withdraws_does_not_hurt_its_call(loop: asyncio.AbstractEventLoop) -> None:
    def answer(message: Said) -> list[Said]:
        if message.get("method") != "tools/call":
            return []
        withdrawn = {"method": "notifications/cancelled", "params": {"requestId": 1000}}
        return [
            {"id": 999, "method": "elicitation/create", "params": FORM},
            {"id": 1000, "method": "elicitation/create", "params": FORM},
            withdrawn,
            {"method": "notifications/cancelled", "params": {"requestId": 999}},
            {"id": 1001, "method": "ping"},
            {"id": message["id"], "result": {"content": []}},
        ]

    scripted = Scripted(answer)
    session = McpSession(server(), scripted.connect, loop, nothing)
    assert session.settled.wait(30)

    def ask(_question: Said, _is_over: Callable[[], bool]) -> Said:
        until(lambda: len(answers(scripted)) == 1)  # of the ping, so the withdrawals have come
        return {"action": "decline"}

    assert session.request("tools/call", {"name": "x"}, timeout_s=60, ask=ask) == {"content": []}
    session.close()
    assert session.wait_closed(30)


def test_a_server_that_takes_no_answers_is_not_listened_to(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LINES_AT_ONCE", 1 << 30)  # no pauses
    said: list[int] = []
    scripted = Scripted(lambda _: [])

    @asynccontextmanager
    async def deaf(ending: Ending) -> AsyncIterator[TransportStreams]:
        async with scripted.connect(ending) as (read, write):
            send, pinged = anyio.create_memory_object_stream[SessionMessage | Exception](0)
            blocked, _never_read = anyio.create_memory_object_stream[SessionMessage](0)
            is_ready = anyio.Event()

            class Write:
                async def send(self, item: SessionMessage) -> None:
                    await (blocked if is_ready.is_set() else write).send(item)
                    if isinstance(item.message, mcp_types.JSONRPCNotification):
                        is_ready.set()

                async def aclose(self) -> None:
                    await write.aclose()

            async def forward() -> None:
                async for item in read:
                    await send.send(item)

            async def flood() -> None:
                await is_ready.wait()
                for number in range(1000):
                    await send.send(SessionMessage(mcp_types.JSONRPCRequest(jsonrpc="2.0", id=number, method="ping")))
                    said.append(number)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(forward)
                tasks.start_soon(flood)
                yield pinged, Write()  # type: ignore[misc]
                tasks.cancel_scope.cancel()

    session = McpSession(server(), deaf, loop, nothing)
    assert session.settled.wait(30)
    until(lambda: len(said) >= 4)

    async def let_others_run() -> None:
        for _ in range(20_000):
            await asyncio.sleep(0)

    asyncio.run_coroutine_threadsafe(let_others_run(), loop).result()
    session.close()

    assert session.wait_closed(30)
    assert len(said) < 20


def test_two_that_need_the_same_server_at_once_get_the_same_session(
    open_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = open_bench()
    thread = bench.thread()
    worker = bench.workers[0]
    both = threading.Barrier(2)

    digest = pool_module._digest

    def digest_of_two(*given: Any) -> str:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)  # two that look at the same time meet here; one after the other, nobody comes
        return digest(*given)

    monkeypatch.setattr(pool_module, "_digest", digest_of_two)
    pool = McpPool(worker.config, lambda *_: None, lambda *_: None)
    place = Place(bench.cwd, SandboxPolicy("read-only", bench.cwd), CommandLimits())
    found: list[McpSession] = []

    def ensure() -> None:
        found.append(pool.ensure(thread.owner, thread.id, program(), place, restarts=True)["demo"])
        assert found[-1].settled.wait(30)

    threads = [threading.Thread(target=ensure) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert found[0] is found[1]
    assert found[0].state == READY
    pool.close()
