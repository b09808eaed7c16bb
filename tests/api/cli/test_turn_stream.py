"""The stream of one turn, with a server that goes away."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any, cast

import click
import pytest

from api.cli import turn_stream
from api.cli.client import Client, Event
from api.cli.output import Output
from api.cli.progress import Progress
from api.cli.turn_stream import TurnStream
from shared.errors import InvalidRequest, Unavailable

ITEM = {"id": "item", "type": "agentMessage", "text": "Hello.", "completedAtMs": 1}
ENDED = {"id": "turn", "status": "completed", "items": [ITEM]}


class LosesTheReply:
    """A server that begins the turn, goes away before it replies, and is back when the turn has ended."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def stream(self, method: str, params: Mapping[str, Any]) -> Iterator[Event]:
        self.started.append(params["clientUserMessageId"])
        raise Unavailable("gone")
        yield

    def call(self, method: str, params: Mapping[str, Any]) -> Any:
        if method == "turn/start":
            self.started.append(params["clientUserMessageId"])
            return {"turn": {"id": "turn"}}
        return {"data": [ENDED]}


def test_a_turn_whose_start_got_no_reply_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_stream, "RECONNECT_SECONDS", 0.0)
    server = LosesTheReply()
    turn, err = turn_on(server)

    events = list(turn.events())

    assert [event["method"] for event in events] == ["item/completed", "turn/completed"]
    assert (turn.message, turn.status) == ("Hello.", "completed")
    first, second = server.started
    assert first == second
    assert err.getvalue() == "gone; trying again for 120 s\n"


class LosesTheLog(LosesTheReply):
    """A server whose stream breaks in the middle of a message, and whose log has lost what came after it."""

    def stream(self, method: str, params: Mapping[str, Any]) -> Iterator[Event]:
        yield Event("1-0", "result", {"result": {"turn": {"id": "turn"}}})
        yield notification("item/started", item={**ITEM, "text": ""})
        yield notification("item/agentMessage/delta", itemId="item", delta="Hel")
        raise Unavailable("gone")

    def call(self, method: str, params: Mapping[str, Any]) -> Any:
        items = [ITEM, {**ITEM, "id": "open", "completedAtMs": None}]
        return {"data": [{"id": "turn", "status": "inProgress", "items": items}]}

    def events(self, thread_id: str, after: str | None) -> Iterator[Event]:
        assert after == "1-0"
        yield Event(None, "threadhouse/cursorExpired", {"method": "threadhouse/cursorExpired", "params": {}})
        yield notification("item/completed", item=ITEM)
        yield notification("turn/completed", turn={**ENDED, "status": "failed", "error": {"message": "no luck"}})


def test_items_that_the_log_has_lost_are_read_from_the_thread_and_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_stream, "RECONNECT_SECONDS", 0.0)
    turn, _ = turn_on(LosesTheLog())
    terminal = Terminal()
    show = Progress(Output(terminal))

    methods = []
    for event in turn.events():
        methods.append(event["method"])
        show(event)

    assert methods[-2:] == ["item/completed", "turn/completed"]
    assert methods.count("item/completed") == 1
    assert "Hello.\n" in click.unstyle(terminal.getvalue())
    assert "no luck\n" in terminal.getvalue()  # its `error` notification was lost


def test_commands_and_paths_are_shown_with_what_would_hide_them() -> None:
    terminal = Terminal()
    show = Progress(Output(terminal))

    show({"method": "item/started", "params": {"item": {"type": "commandExecution", "command": "ls \u202e\x1b[2K"}}})
    item = {"type": "fileChange", "status": "completed", "changes": [{"path": "/a\u200b\n/b"}]}
    show({"method": "item/completed", "params": {"item": item}})

    shown = click.unstyle(terminal.getvalue())
    assert shown == "exec\nls \\u{202e}\\u{1b}[2K\npatch\ncompleted: /a\\u{200b}\\u{a}/b\n"


def test_a_terminal_shows_the_missing_rest_of_each_streamed_item() -> None:
    command = {"type": "commandExecution", "status": "completed", "exitCode": 0}
    shown = {
        "whole": ("one\ntwo\n", "one\ntwo\n", ""),
        "cut": ("one\n", "one\ntwo\n", "two"),
        "shortened": ("one\ntwo\nthree\n", "one\n…\nthree\n", ""),
        "middle lost": ("one\nthree\n", "one\ntwo\nthree\n", "\none\ntwo\nthree"),
        "never shown": ("", "one\n", "one"),
    }
    for case, (delta, output, rest) in shown.items():
        terminal = Terminal()
        show = Progress(Output(terminal))
        if delta:
            show({"method": "item/commandExecution/outputDelta", "params": {"itemId": "item", "delta": delta}})
        item = {"id": "item", "aggregatedOutput": output, **command}
        show({"method": "item/completed", "params": {"item": item}})

        text = click.unstyle(terminal.getvalue()).removeprefix(delta).removesuffix("completed, exit code 0\n")
        assert (case, text.removesuffix("\n")) == (case, rest)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def turn_on(server: LosesTheReply) -> tuple[TurnStream, io.StringIO]:
    """Return a turn on that server, and what it prints on stderr."""
    err = io.StringIO()
    return TurnStream(cast(Client, server), "thread", [{"type": "text", "text": "hello"}], Output(err)), err


def notification(method: str, **params: Any) -> Event:
    return Event("1-0", method, {"method": method, "params": {"turnId": "turn", **params}})


class AnswersLate:
    """A server on which the turn begins only when the test lets it, and which is away at the first answer."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.turn: TurnStream | None = None

    def stream(self, method: str, params: Mapping[str, Any]) -> Iterator[Event]:
        assert self.turn is not None
        self.turn.interrupt()
        yield Event("1-0", "result", {"result": {"turn": {"id": "turn"}}})
        yield notification("turn/completed", turn={**ENDED, "status": "interrupted"})

    def call(self, method: str, params: Mapping[str, Any]) -> Any:
        self.calls.append((method, params))
        if len(self.calls) == 1:
            raise Unavailable("gone")
        if len(self.calls) == 3:
            raise InvalidRequest("somebody has answered")
        return {}


def test_a_turn_that_is_interrupted_before_it_has_an_id_is_interrupted_when_it_has_one() -> None:
    server = AnswersLate()
    server.turn, _ = turn_on(server)  # type: ignore[arg-type]
    server.calls = [("", None)]  # the server is there

    list(server.turn.events())

    assert server.calls[1:] == [("turn/interrupt", {"threadId": "thread", "turnId": "turn"})]


def test_an_answer_is_sent_until_the_server_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_stream, "RECONNECT_SECONDS", 0.0)
    server = AnswersLate()
    turn, _ = turn_on(server)  # type: ignore[arg-type]

    turn.answer(7, {"decision": "accept"})
    turn.answer(7, {"decision": "accept"})

    assert server.calls == [("serverRequest/respond", {"requestId": 7, "result": {"decision": "accept"}})] * 3
