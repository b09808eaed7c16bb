"""One session with one MCP server: started, asked, and ended, by one task in the event loop of all sessions.

The task enters and leaves the SDK's contexts, so that no cancel scope crosses tasks. Requests are tasks of their own,
which other threads wait for. Requests go through the SDK's dispatcher as they are, and results come back as the server
sent them: typed results would drop members that clients are to see.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from queue import Empty, SimpleQueue
from typing import Any

import httpx2
import mcp_types
from mcp.client._transport import TransportStreams
from mcp.client.session import ClientRequestContext, ClientSession
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher

from shared.config.mcp_servers import McpServer
from shared.errors import ToolError
from workers.control.signal import Signal, StopReason
from workers.mcp import CLOSED, FAILED, READY, STARTING
from workers.mcp.errors import McpAnsweredError, McpClosed, McpError, McpStopped, McpTimeout
from workers.mcp.guarded_http import LOGIN_NEEDED
from workers.mcp.lines import Ending

logger = logging.getLogger(__name__)
for _name in ("mcp", "client", "httpx2", "httpcore2"):  # the SDK logs addresses, and parts of what servers send
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

NOT_FOUND = 127  # the exit code of prlimit and of shells for a program that does not exist
CLOSED_MESSAGE = "Connection closed"  # of the SDK's error, whose code is CONNECTION_CLOSED
DRAIN_SECONDS = 5.0  # for a call to end by itself when the worker shuts down
EXIT_SECONDS = 2.0  # between the end of a program's output and its own
CANCEL_SECONDS = 5.0  # for the server to be notified that a call was given up
MAX_PAGES = 50  # of a list
MAX_TOOLS = 512  # of a server
MAX_LIST_BYTES = 4 << 20  # of the pages of a list
CLIENT = mcp_types.Implementation(name="threadhouse", title="Threadhouse", version=version("threadhouse"))

Transport = Callable[[Ending], AbstractAsyncContextManager[TransportStreams]]
Ask = Callable[[Mapping[str, Any], Callable[[], bool]], Mapping[str, Any]]
Question = tuple[Mapping[str, Any], "Future[Mapping[str, Any]]"]


class McpSession:
    """A session. All methods but the constructor's may be called from any thread.

    server:       its configuration as of the start; the pool replaces it when only filters changed
    state:        STARTING, READY, FAILED (it could not be started) or CLOSED
    error:        why it failed, as clients read it, and as mcpServerStatus/list shows it
    needs_login:  it failed because the server wants a login
    info:         the server's answer to `initialize`
    tools:        all tools as the server described them
    settled:      set when it is ready or has failed
    used_at:      monotonic seconds
    active:       number of requests that run
    """

    def __init__(
        self,
        server: McpServer,
        transport: Transport,
        loop: asyncio.AbstractEventLoop,
        on_settled: Callable[[McpSession], None],
    ) -> None:
        self.server = server
        self.state = STARTING
        self.error: tuple[str, str] | None = None
        self.needs_login = False
        self.info: Mapping[str, Any] = {}
        self.tools: Sequence[Mapping[str, Any]] = ()
        self.settled = threading.Event()
        self.used_at = time.monotonic()
        self.active = 0
        self._retired = False
        self._transport = transport
        self._loop = loop
        self._on_settled = on_settled
        self._lock = threading.Lock()
        self._asked: list[SimpleQueue[Any]] = []  # of the running requests that may ask the user
        self._dispatcher: JSONRPCDispatcher[Any] | None = None
        self._stop: asyncio.Event | None = None
        self._ended = asyncio.run_coroutine_threadsafe(self._own(), loop)

    # -- for other threads

    def close(self, on_closed: Callable[[], object] | None = None) -> None:
        """End the session once no request runs. on_closed: called when it has ended."""
        if on_closed is not None:
            self._ended.add_done_callback(lambda _: on_closed())
        with self._lock:
            self._retired = True
            is_unused = not self.active
        if is_unused:
            self._loop.call_soon_threadsafe(self._request_stop)

    def wait_closed(self, seconds: float) -> bool:
        """Wait for the end of the session; return whether it came in that time."""
        wait([self._ended], seconds)
        return self._ended.done()

    def request(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        timeout_s: float,
        signal: Signal | None = None,
        ask: Ask | None = None,
    ) -> dict[str, Any]:
        """Send a request and return the result as the server sent it.

        signal: requests of the turn to stop
        ask:    asks the user what the server wants to know: (params of elicitation/create, whether nobody waits any
                more) → the answer; the time does not count. None: such questions are declined.
        Errors: McpError
        """
        inbox: SimpleQueue[Any] = SimpleQueue()
        with self._lock:
            self.active += 1
            if ask is not None:
                self._asked.append(inbox)
        try:
            running = asyncio.run_coroutine_threadsafe(self._send(method, params), self._loop)
            running.add_done_callback(lambda _: inbox.put(None))
            if signal is None:
                return self._wait(running, inbox, method, timeout_s, ask)
            with signal.subscribed(inbox.put):
                return self._wait(running, inbox, method, timeout_s, ask)
        finally:
            with self._lock:
                self.active -= 1
                self.used_at = time.monotonic()
                if ask is not None:
                    self._asked.remove(inbox)
                is_over = self._retired and not self.active
            if is_over:
                self._loop.call_soon_threadsafe(self._request_stop)

    def _wait(
        self, running: Future[dict[str, Any]], inbox: SimpleQueue[Any], method: str, timeout_s: float, ask: Ask | None
    ) -> dict[str, Any]:
        until, is_draining = time.monotonic() + timeout_s, False
        while True:
            try:
                event = inbox.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                self._abandon(running)
                raise (McpStopped("the worker shut down") if is_draining else McpTimeout(method, timeout_s)) from None
            if event is None:
                return running.result()
            if event is StopReason.DRAIN:
                is_draining, until = True, min(until, time.monotonic() + DRAIN_SECONDS)
            elif event is StopReason.INTERRUPT or event is StopReason.REVOKED:
                self._abandon(running)
                raise McpStopped(event.value)
            elif isinstance(event, tuple) and ask is not None:
                asked_at = time.monotonic()
                question, answer = event
                try:
                    answer.set_result(ask(question, running.done))
                except BaseException as error:
                    answer.set_exception(error)
                    self._abandon(running)
                    raise
                until += time.monotonic() - asked_at

    def _abandon(self, running: Future[dict[str, Any]]) -> None:
        """Give a request up; the SDK notifies the server."""
        running.cancel()
        done = threading.Event()
        running.add_done_callback(lambda _: done.set())
        done.wait(CANCEL_SECONDS)

    # -- in the event loop

    def _request_stop(self) -> None:
        if self._stop is not None:
            self._stop.set()

    async def _own(self) -> None:
        """Start the session, keep it until it is to end, and end it."""
        server, ending = self.server, Ending()
        self._stop = asyncio.Event()
        try:
            if not server.is_valid_name:
                raise McpError(f"Invalid MCP server name '{server.name}': must match pattern ^[a-zA-Z0-9_:@/.-]+$")
            async with self._transport(ending) as (read, write):
                self._dispatcher = JSONRPCDispatcher(read, write)
                async with ClientSession(
                    dispatcher=self._dispatcher, client_info=CLIENT, elicitation_callback=self._elicit
                ) as client:
                    starting = asyncio.ensure_future(self._initialize(client))
                    await _first(starting, self._stop.wait(), seconds=server.startup_timeout_sec)
                    if self._stop.is_set():
                        return
                    if not starting.done():
                        starting.cancel()
                        return self._settle(FAILED, _too_slow(server))
                    starting.result()
                    self._settle(READY, None)
                    await _first(self._stop.wait(), ending.wait())
        except Exception as error:  # noqa: BLE001 - whatever a server does with the SDK is this session's alone
            if self.settled.is_set():
                logger.info("session with an MCP server broke: %s", type(_leaves(error)[0]).__name__)
            else:
                first = _leaves(error)[0]
                self.needs_login = isinstance(first, MCPError) and first.code == LOGIN_NEEDED
                self._settle(FAILED, _failure(server, await _reason(error, ending)))
        finally:
            self._dispatcher = None
            if not self.settled.is_set():
                self._settle(FAILED, _failure(server, "the session was closed"))
            elif self.state == READY:
                self.state = CLOSED

    async def _initialize(self, client: ClientSession) -> None:
        self.info = (await client.initialize()).model_dump(by_alias=True, mode="json", exclude_none=True)
        if "tools" in self.info.get("capabilities", {}):
            self.tools = (await self._list("tools/list", "tools"))[:MAX_TOOLS]

    async def _list(self, method: str, member: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        params: dict[str, Any] = {}
        size = 0
        for _ in range(MAX_PAGES):
            page = await self._send(method, params)
            size += len(json.dumps(page))
            if size > MAX_LIST_BYTES:
                raise McpError(f"its answers to {method} have more than {MAX_LIST_BYTES >> 20} MiB")
            found += [
                one for one in page.get(member) or () if isinstance(one, dict) and isinstance(one.get("name"), str)
            ]
            if not page.get("nextCursor"):
                break
            params = {"cursor": page["nextCursor"]}
        return found

    async def _send(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if self._dispatcher is None:
            raise McpClosed
        try:
            return await self._dispatcher.send_raw_request(method, params, {"on_progress": _ignore_progress})
        except MCPError as error:
            if _is_closed(error):
                raise McpClosed from None
            raise McpAnsweredError(error.code, error.message, error.data) from None

    async def _elicit(
        self, context: ClientRequestContext, params: mcp_types.ElicitRequestParams
    ) -> mcp_types.ElicitResult | mcp_types.ErrorData:
        """Pass a question of the server to the thread that waits for its answer to a request."""
        with self._lock:
            inbox = self._asked[-1] if self._asked else None
        if inbox is None:
            return mcp_types.ElicitResult(action="decline")
        answer: Future[Mapping[str, Any]] = Future()
        inbox.put((params.model_dump(by_alias=True, mode="json", exclude_none=True), answer))
        return mcp_types.ElicitResult.model_validate(await asyncio.wrap_future(answer))

    def _settle(self, state: str, error: tuple[str, str] | None) -> None:
        self.state, self.error = state, error
        self.settled.set()
        self._on_settled(self)


@asynccontextmanager
async def no_room(_ending: Ending) -> AsyncIterator[TransportStreams]:
    """The transport of a server that may not be started."""
    raise McpError("too many MCP servers run here; end a turn that uses others, or ask the operator for more")
    yield


async def _ignore_progress(progress: float, total: float | None, message: str | None) -> None:
    """The original shows no progress of MCP servers; the token is sent because some servers want one."""


async def _first(*waiting: Any, seconds: float | None = None) -> None:
    """Wait until one of several has come, at most for seconds. Futures among them go on."""
    tasks = [asyncio.ensure_future(one) for one in waiting]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task, one in zip(tasks, waiting, strict=True):
            if task is not one:
                task.cancel()


def _leaves(error: BaseException) -> list[BaseException]:
    """Return the errors in a group of errors."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _is_closed(error: BaseException) -> bool:
    """Return whether the SDK says that the connection is closed: servers use the same code for errors of theirs."""
    return isinstance(error, MCPError) and error.code == mcp_types.CONNECTION_CLOSED and error.message == CLOSED_MESSAGE


async def _reason(error: Exception, ending: Ending) -> str:
    """Return why a session could not be started, without what might be a secret of the server."""
    first = _leaves(error)[0]
    if isinstance(first, McpClosed) or _is_closed(first):
        await _first(ending.wait(), seconds=EXIT_SECONDS)
        if ending.exit_code == NOT_FOUND:
            return "No such file or directory (os error 2)"
        return "connection closed: initialize response"
    if isinstance(first, McpError | ToolError | MCPError):
        return str(first)
    if isinstance(first, httpx2.HTTPStatusError):  # its text has the whole address
        return f"the server answered with HTTP {first.response.status_code}"
    return f"{type(first).__name__}: {first}"[:500]


def _failure(server: McpServer, reason: str) -> tuple[str, str]:
    short = f"MCP startup failed: {reason}"
    return f"MCP client for `{server.name}` failed to start: {short}", short


def _too_slow(server: McpServer) -> tuple[str, str]:
    seconds = f"{server.startup_timeout_sec:g}"
    return (
        f"MCP client for `{server.name}` timed out after {seconds} seconds. Add or adjust `startup_timeout_sec` in "
        f"your config.toml:\n[mcp_servers.{server.name}]\nstartup_timeout_sec = XX",
        f"MCP startup failed: timed out handshaking with MCP server after {seconds}s: deadline has elapsed",
    )
