"""The MCP server: one client on stdin and stdout."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any, TypeVar
from urllib.parse import urlsplit

import anyio
from anyio import to_thread
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_loop
from mcp.server.session import ServerSession
from mcp.server.stdio import stdio_server
from mcp.types import INVALID_PARAMS, CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams
from pydantic import BaseModel, ValidationError

from api.cli.client import Client
from api.cli.host import is_loopback
from api.cli.mcp_server import tools
from api.cli.mcp_server.tool_turn import ToolTurn, error_result
from shared.errors import InvalidRequest, ThreadhouseError

INSTRUCTIONS = (
    "Threads of coding agents on a Threadhouse server. `codex` starts a thread and returns when its turn has ended; "
    "`codex-reply` continues a thread by its threadId. `codex-list` and `codex-read` show threads."
)
Result = TypeVar("Result")
Context = ServerRequestContext[dict[str, object]]
Call = Callable[[ServerSession, BaseModel], Awaitable[CallToolResult]]


def serve(url: str, token: str | Callable[[], str] | None) -> None:
    """Serve the client on stdin and stdout until stdin ends, or a signal to end arrives; then end the process."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)  # stdout has messages only
    is_local = token is None and is_loopback(urlsplit(url).hostname or "")
    anyio.run(_Tools(Client(url, token), is_local=is_local).serve_stdio)


class _Tools:
    """The tools on a server. is_local: whether its folders are those of this machine."""

    def __init__(self, client: Client, *, is_local: bool) -> None:
        self._client = client
        self._is_local = is_local
        self._calls: dict[str, tuple[type[BaseModel], Call]] = {
            tools.CODEX.name: (tools.CodexArguments, self._codex),
            tools.CODEX_REPLY.name: (tools.ReplyArguments, self._reply),
            tools.CODEX_LIST.name: (tools.ListArguments, self._list),
            tools.CODEX_READ.name: (tools.ReadArguments, self._read),
        }

    async def serve_stdio(self) -> None:
        """Serve one client, and end the process. It speaks a revision of MCP with a handshake.

        The later one (2026-07-28) lets no server ask in the middle of a call; clients that prefer it fall back.
        """
        server = Server(
            "threadhouse",
            title="Threadhouse",
            version=version("threadhouse"),
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )
        async with anyio.create_task_group() as tasks, stdio_server() as (messages, answers):
            try:
                with anyio.CancelScope() as scope:
                    tasks.start_soon(_end_on_signal, scope)
                    await serve_loop(server, messages, answers, lifespan_state={})
            except anyio.get_cancelled_exc_class():
                pass  # the client does not read any more
            os._exit(0)  # a thread may be reading stdin or a stream, for which all else would wait

    async def _list_tools(self, ctx: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[tools.CODEX, tools.CODEX_REPLY, tools.CODEX_LIST, tools.CODEX_READ])

    async def _call_tool(self, ctx: Context, params: CallToolRequestParams) -> CallToolResult:
        """Call a tool. A failure is a result, whose text the calling model reads.

        Errors: MCPError (there is no such tool)
        """
        if params.name not in self._calls:
            raise MCPError(INVALID_PARAMS, f"unknown tool {params.name}: call one of {', '.join(self._calls)}")
        arguments_type, call = self._calls[params.name]
        try:
            arguments = arguments_type.model_validate(params.arguments or {})
        except ValidationError as error:
            return error_result(tools.describe_errors(error))
        try:
            return await call(ctx.session, arguments)
        except ThreadhouseError as error:
            return error_result(str(error))

    async def _codex(self, session: ServerSession, arguments: BaseModel) -> CallToolResult:
        assert isinstance(arguments, tools.CodexArguments)
        settings = dict(arguments.thread_settings())
        if self._is_local:
            settings["cwd"] = os.path.abspath(arguments.cwd or ".")
        started: Any = await self._run(lambda: self._client.call("thread/start", settings))
        return await ToolTurn(self._client, session, started["thread"]["id"], arguments.prompt).run()

    async def _reply(self, session: ServerSession, arguments: BaseModel) -> CallToolResult:
        assert isinstance(arguments, tools.ReplyArguments)
        thread_id = arguments.threadId or arguments.conversationId
        if not thread_id:
            raise InvalidRequest("threadId: required: give the threadId that `codex` or `codex-list` has returned")
        return await ToolTurn(self._client, session, thread_id, arguments.prompt).run()

    async def _list(self, session: ServerSession, arguments: BaseModel) -> CallToolResult:
        assert isinstance(arguments, tools.ListArguments)
        return tools.data_result(await self._run(lambda: tools.list_threads(self._client, arguments)))

    async def _read(self, session: ServerSession, arguments: BaseModel) -> CallToolResult:
        assert isinstance(arguments, tools.ReadArguments)
        return tools.data_result(await self._run(lambda: tools.read_thread(self._client, arguments)))

    async def _run(self, request: Callable[[], Result]) -> Result:
        """Run a blocking request in a thread."""
        return await to_thread.run_sync(request, abandon_on_cancel=True)


async def _end_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
