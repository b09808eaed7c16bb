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
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from importlib.metadata import version
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import mcp_types
from mcp.client._transport import TransportStreams
from mcp.client.session import ClientRequestContext, ClientSession
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher

from shared.config.mcp_servers import McpServer
from workers.control.signal import Signal, StopReason
from workers.mcp import CLOSED, FAILED, READY, STARTING
from workers.mcp.errors import McpAnsweredError, McpClosed, McpError, McpStopped, McpTimeout
from workers.mcp.failures import Failure, failure_of, first_leaf, is_closed, needs_login
from workers.mcp.lines import Ending
from workers.mcp.wire import Input, Output

logger = logging.getLogger(__name__)
for _name in ("mcp", "client", "httpx2", "httpcore2"):  # the SDK logs addresses, and parts of what servers send
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

DRAIN_SECONDS = 5.0  # for a call to end by itself when the worker shuts down
END_SECONDS = 5.0  # for a session to end in order; then it is cut off
CANCEL_SECONDS = 5.0  # for the server to be notified that a call was given up
MAX_PAGES = 50  # of a list
MAX_TOOLS = 512  # of a server
MAX_LIST_BYTES = 4 << 20  # of the pages of a list
MAX_QUESTIONS = 20  # of a server in one call; further ones are declined
MAX_QUESTION_CHARACTERS = 64 * 1024  # of JSON; a longer one is declined
CLIENT = mcp_types.Implementation(name="threadhouse", title="Threadhouse", version=version("threadhouse"))

Transport = Callable[[Ending], AbstractAsyncContextManager[TransportStreams]]
Ask = Callable[[Mapping[str, Any], Callable[[], bool]], Mapping[str, Any]]
Result = TypeVar("Result")


class _Inbox(SimpleQueue[Any]):
    """What the thread of a request gets: a StopReason; a question of the server, and the Future of its answer; None at
    the end of the request.
    """

    questions = 0


class McpSession:
    """A session. All methods but the constructor's may be called from any thread.

    server:       its configuration as of the start; the pool replaces it when only filters changed
    state:        STARTING, READY, FAILED (it could not be started) or CLOSED
    error:        why it failed
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
        on_state: Callable[[McpSession], None],
    ) -> None:
        """Begin to start the session. on_state: called with each state but CLOSED; must not wait"""
        self.server = server
        self.state = STARTING
        self.error: Failure | None = None
        self.needs_login = False
        self.info: Mapping[str, Any] = {}
        self.tools: Sequence[Mapping[str, Any]] = ()
        self.settled = threading.Event()
        self.used_at = time.monotonic()
        self.active = 0
        self._retired = False
        self._transport = transport
        self._loop = loop
        self._on_state = on_state
        self._lock = threading.Lock()
        self._asked: list[_Inbox] = []  # of the running requests that may ask the user
        self._dispatcher: JSONRPCDispatcher[Any] | None = None
        self._ending = Ending()
        self._stop = asyncio.Event()
        on_state(self)
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
            self._loop.call_soon_threadsafe(self._stop.set)

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
        return self._run_in_loop(self._send(method, params), method, timeout_s, signal, ask)

    def list_all(
        self, method: str, member: str, *, timeout_s: float, signal: Signal | None = None
    ) -> list[dict[str, Any]]:
        """Return the objects of all pages of a list. Errors: McpError, also for a list that is too long."""
        return self._run_in_loop(self._list(method, member), method, timeout_s, signal)

    def _run_in_loop(
        self,
        work: Coroutine[Any, Any, Result],
        method: str,
        timeout_s: float,
        signal: Signal | None,
        ask: Ask | None = None,
    ) -> Result:
        inbox = _Inbox()
        with self._lock:
            self.active += 1
            if ask is not None:
                self._asked.append(inbox)
        try:
            running = asyncio.run_coroutine_threadsafe(work, self._loop)
            running.add_done_callback(lambda _: inbox.put(None))
            with signal.subscribed(inbox.put) if signal is not None else nullcontext():
                return self._wait(running, inbox, method, timeout_s, ask)
        finally:
            with self._lock:
                self.active -= 1
                self.used_at = time.monotonic()
                if ask is not None:
                    self._asked.remove(inbox)
                is_over = self._retired and not self.active
            while not inbox.empty():
                if isinstance(event := inbox.get(), tuple) and event[1].set_running_or_notify_cancel():
                    event[1].set_result({"action": "decline"})
            if is_over:
                self._loop.call_soon_threadsafe(self._stop.set)

    def _wait(self, running: Future[Result], inbox: _Inbox, method: str, timeout_s: float, ask: Ask | None) -> Result:
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
                if not answer.set_running_or_notify_cancel():
                    continue  # the server has withdrawn it
                try:
                    answer.set_result(ask(question, running.done))
                except BaseException as error:
                    answer.set_exception(error)
                    self._abandon(running)
                    raise
                until += time.monotonic() - asked_at

    def _abandon(self, running: Future[Any]) -> None:
        """Give a request up; the SDK notifies the server."""
        running.cancel()
        done = threading.Event()
        running.add_done_callback(lambda _: done.set())
        done.wait(CANCEL_SECONDS)

    # -- in the event loop

    async def _own(self) -> None:
        """Run the session until it ends, is to end, or takes too long to start; whatever its server does, it ends."""
        too_slow = self._loop.call_later(self.server.startup_timeout_sec, self._give_up)
        running, stop = asyncio.ensure_future(self._run()), asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((running, stop), return_when=asyncio.FIRST_COMPLETED)
        too_slow.cancel()
        stop.cancel()
        self._settle(FAILED, Failure.of(self.server.name, "the session was closed"))
        self._set_closed()
        while not running.done():
            running.cancel()  # the first time it may still say goodbye
            await asyncio.wait((running,), timeout=END_SECONDS)

    def _give_up(self) -> None:
        if not self.settled.is_set():
            self._settle(FAILED, Failure.too_slow(self.server.name, self.server.startup_timeout_sec))
            self._stop.set()

    async def _run(self) -> None:
        server, ending = self.server, self._ending
        try:
            if not server.is_valid_name:
                raise McpError(f"Invalid MCP server name '{server.name}': must match pattern ^[a-zA-Z0-9_:@/.-]+$")
            async with self._transport(ending) as (read, write):
                output = Output(write)
                self._dispatcher = JSONRPCDispatcher(Input(read, output, ending), output)
                async with ClientSession(
                    dispatcher=self._dispatcher, client_info=CLIENT, elicitation_callback=self._elicit
                ) as client:
                    await self._initialize(client)
                    self._settle(READY, None)
                    await ending.wait()
                    self._set_closed()
        except Exception as error:  # noqa: BLE001 - whatever a server does with the SDK is this session's alone
            if self.settled.is_set():
                logger.info("session with an MCP server broke: %s", type(first_leaf(error)).__name__)
            else:
                self.needs_login = needs_login(error)
                self._settle(FAILED, failure_of(server.name, error, ending))

    def _set_closed(self) -> None:
        self._dispatcher = None
        if self.state == READY:
            self.state = CLOSED

    async def _initialize(self, client: ClientSession) -> None:
        self.info = (await client.initialize()).model_dump(by_alias=True, mode="json", exclude_none=True)
        if "tools" in self.info.get("capabilities", {}):
            named = [one for one in await self._list("tools/list", "tools") if one.get("name")]
            self.tools = [one for one in named if isinstance(one["name"], str)][:MAX_TOOLS]

    async def _list(self, method: str, member: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        params: dict[str, Any] = {}
        size = 0
        for _ in range(MAX_PAGES):
            page = await self._send(method, params)
            size += len(json.dumps(page))
            if size > MAX_LIST_BYTES:
                raise McpError(f"its answers to {method} have more than {MAX_LIST_BYTES >> 20} MiB")
            listed, cursor = page.get(member), page.get("nextCursor")
            found += [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else ()
            if not cursor:
                return found
            params = {"cursor": cursor}
        raise McpError(f"its answers to {method} have more than {MAX_PAGES} pages")

    async def _send(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if self._dispatcher is None:
            raise McpClosed
        try:
            return await self._dispatcher.send_raw_request(method, params, {"on_progress": _ignore_progress})
        except MCPError as error:
            if is_closed(error):
                self._ending.set()
                raise McpClosed from None
            raise McpAnsweredError(error.code, error.message, error.data) from None

    async def _elicit(
        self, context: ClientRequestContext, params: mcp_types.ElicitRequestParams
    ) -> mcp_types.ElicitResult | mcp_types.ErrorData:
        """Pass a question of the server to the thread that waits for its answer to a request."""
        question = params.model_dump(by_alias=True, mode="json", exclude_none=True)
        is_short = len(json.dumps(question)) <= MAX_QUESTION_CHARACTERS
        answer: Future[Mapping[str, Any]] = Future()
        with self._lock:
            inbox = self._asked[-1] if self._asked else None
            if inbox is None or inbox.questions >= MAX_QUESTIONS or not is_short:
                return mcp_types.ElicitResult(action="decline")
            inbox.questions += 1
            inbox.put((question, answer))
        return mcp_types.ElicitResult.model_validate(await asyncio.wrap_future(answer))

    def _settle(self, state: str, error: Failure | None) -> None:
        """Note how the start ended; the first time counts."""
        if not self.settled.is_set():
            self.state, self.error = state, error
            self.settled.set()
            self._on_state(self)


@asynccontextmanager
async def no_room(_ending: Ending) -> AsyncIterator[TransportStreams]:
    """The transport of a server that may not be started."""
    raise McpError("too many MCP servers run here; end a turn that uses others, or ask the operator for more")
    yield


async def _ignore_progress(progress: float, total: float | None, message: str | None) -> None:
    """The original shows no progress of MCP servers; the token is sent because some servers want one."""
