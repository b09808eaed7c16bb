"""One turn that a tool of the MCP server runs: its progress, the questions in it, its interruption and its result."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import anyio
from anyio import from_thread, to_thread
from anyio.abc import TaskGroup
from mcp.server.session import ServerSession
from mcp.types import CallToolResult, TextContent

from api.cli.client import Client, EventData
from api.cli.mcp_server import elicitations
from api.cli.mcp_server.tools import shorten
from api.cli.output import Output
from api.cli.turn_stream import TurnStream
from shared.errors import ThreadhouseError, Unavailable

MAX_TURNS = 64  # that one process follows at once, with a thread each; more calls wait
INTERRUPT_SECONDS = 1.5  # for the end of a cancelled turn: clients wait 2 s for the end of the process
PROGRESS_CHARACTERS = 500

Result = TypeVar("Result")

_threads = anyio.CapacityLimiter(MAX_TURNS)  # of their own: reading stdin may not wait for the end of a turn
_answers = anyio.CapacityLimiter(MAX_TURNS)  # threads that answer requests of the server


class ToolTurn:
    """A turn from its prompt to the result of the tool.

    The notifications arrive in a thread, because the client of the HTTP API blocks; all else runs in the event loop.
    """

    def __init__(self, client: Client, session: ServerSession, thread_id: str, prompt: str) -> None:
        self._session = session
        self._thread_id = thread_id
        self._turn = TurnStream(client, thread_id, [{"type": "text", "text": prompt}], Output(sys.stderr), answers=True)
        self._error = ""
        self._refused: list[str] = []  # what was declined because the client's user cannot be asked
        self._items: dict[str, Any] = {}  # patches that have begun: their approval requests do not say what they change
        self._questions: dict[int, anyio.CancelScope] = {}  # that wait for an answer, by the ids of the requests
        self._steps = 0
        self._is_left = False
        self._ended = anyio.Event()  # no more notifications are handled

    async def run(self) -> CallToolResult:
        """Run the turn to its end. When the call is cancelled, the turn is interrupted."""
        async with anyio.create_task_group() as tasks:
            self._tasks: TaskGroup = tasks
            try:
                await self._report(f"thread {self._thread_id}")
                await to_thread.run_sync(self._follow, abandon_on_cancel=True, limiter=_threads)
            except anyio.get_cancelled_exc_class():
                await self._interrupt()
                raise
            except Unavailable as error:
                self._error = f"{error}. The turn may go on: read it with codex-read"
            except ThreadhouseError as error:
                self._error = str(error)
            tasks.cancel_scope.cancel()
        return self._result()

    def _follow(self) -> None:
        """Handle the turn's notifications; runs in a thread. Errors: those of TurnStream.events."""
        try:
            for event in self._turn.events():
                if self._is_left:
                    return
                from_thread.run(self._handle, event)
        finally:
            from_thread.run_sync(self._ended.set)

    async def _interrupt(self) -> None:
        self._is_left = True
        with anyio.move_on_after(INTERRUPT_SECONDS, shield=True):
            await to_thread.run_sync(self._turn.interrupt, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
            await self._ended.wait()

    async def _handle(self, event: EventData) -> None:
        params = event["params"]
        match event["method"]:
            case _ if "id" in event:
                if event["id"] not in self._questions:
                    self._questions[event["id"]] = anyio.CancelScope()
                    self._tasks.start_soon(self._answer, event)
            case "serverRequest/resolved" if params["requestId"] in self._questions:
                self._questions[params["requestId"]].cancel()
            case "item/started":
                await self._item_started(params["item"])
            case "item/completed":
                await self._item_completed(params["item"])
            case "error":
                await self._report(params["error"]["message"])
            case "turn/completed" if params["turn"]["status"] != "completed":
                error = params["turn"].get("error")
                self._error = error["message"] if error else f"the turn was {params['turn']['status']}"

    async def _item_started(self, item: Any) -> None:
        if item["type"] == "fileChange":
            self._items[item["id"]] = item
        elif item["type"] == "commandExecution":
            await self._report(f"$ {item['command']}")

    async def _item_completed(self, item: Any) -> None:
        self._items.pop(item["id"], None)
        match item["type"]:
            case "agentMessage":
                await self._report(item["text"])
            case "commandExecution" if item["exitCode"]:
                await self._report(f"exit code {item['exitCode']}: {item['command']}")
            case "fileChange":
                paths = ", ".join(change["path"] for change in item["changes"])
                await self._report(f"patch {item['status']}: {paths}")

    async def _report(self, message: str) -> None:
        """Report progress to the client, if it asked for that."""
        self._steps += 1
        await self._session.report_progress(self._steps, message=shorten(message, PROGRESS_CHARACTERS))

    async def _answer(self, event: EventData) -> None:
        """Have the client's user answer a request of the server. An answer from elsewhere takes the question back."""
        question = elicitations.question(event, self._items.get(event["params"].get("itemId", "")))
        with suppress(ThreadhouseError):  # the notifications end with it, too
            if question is None or not elicitations.can_ask(self._session):
                await self._refuse(event, question.message if question else event["method"])
                return
            answer = None
            with self._questions[event["id"]]:
                answer = await elicitations.ask(self._session, question)
            if answer is not None:
                await self._in_thread(self._turn.answer, event["id"], answer)

    async def _refuse(self, event: EventData, asked: str) -> None:
        if await self._in_thread(self._turn.refuse, event, elicitations.refusal(event)):
            self._refused.append(asked)
            await self._report(f"declined, because nobody can be asked: {asked}")

    async def _in_thread(self, call: Callable[..., Result], *arguments: object) -> Result:
        return await to_thread.run_sync(call, *arguments, abandon_on_cancel=True, limiter=_answers)

    def _result(self) -> CallToolResult:
        text = self._error or self._turn.message or ""
        content = [TextContent(text=text)]
        if self._refused:
            asked = "\n".join(f"- {message}" for message in self._refused)
            content.append(
                TextContent(
                    text="Declined, because this client cannot ask its user (it offers no elicitation):\n"
                    f"{asked}\nStart a thread with approval-policy `never`, or answer in another client of the server."
                )
            )
        structured = {"threadId": self._thread_id, "content": text}
        return CallToolResult(content=list(content), structured_content=structured, is_error=bool(self._error))


def error_result(message: str) -> CallToolResult:
    """Return the result of a call that did not reach a turn."""
    return CallToolResult(content=[TextContent(text=message)], is_error=True)
