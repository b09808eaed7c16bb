"""Turns that run while a process is killed, and the checks that each of them must pass afterwards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.deployment import Deployment
from tests.support.event_stream import EventStream, follow
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.turns import (
    check_order,
    command,
    deltas,
    is_end,
    of_thread,
    run_turn,
    start_turn,
    stored_turn,
    wait_for_end,
)
from tests.support.wait import until

UNAVAILABLE = -32001
UNKNOWN = "outcome is unknown"
TRIES = 5  # to pause a worker that does not hold that lock: it would block all others
MESSAGES = ("I begin.", "I go on.", "I am done.")
TYPES = ["userMessage", "agentMessage", "commandExecution", "agentMessage", "commandExecution", "agentMessage"]
RUN = "echo {0} >> probe; echo working; sleep 0.15; echo {0}.end >> probe"  # the probe counts how often it ran
SCRIPT = (
    f"[[say {MESSAGES[0]}]]{command(RUN.format(1))}[[say {MESSAGES[1]}]]{command(RUN.format(2))}[[say {MESSAGES[2]}]]"
)


@dataclass
class WatchedTurn:
    """A turn in its own thread, followed by a WebSocket and by an event stream that reconnects with its cursor."""

    deployment: Deployment
    client: ProtocolClient
    stream: EventStream
    thread_id: str
    cwd: Path
    turn_id: str = ""

    def start(self, script: str = SCRIPT) -> None:
        self.turn_id = start_turn(self.client, self.thread_id, script)

    def wait_for_end(self, deadline_s: float) -> dict[str, Any]:
        """Wait until both followers have received the end. Return the turn as turn/completed shows it."""
        turn = wait_for_end(self.client, self.turn_id, deadline_s)
        self.stream.wait_for(lambda event: is_end(event.frame, self.turn_id), deadline_s)
        return turn

    @property
    def frames(self) -> list[dict[str, Any]]:
        return of_thread(self.client.received, self.thread_id)

    def stored(self) -> dict[str, Any]:
        return stored_turn(self.client, self.thread_id, self.turn_id)

    def probe(self) -> list[str]:
        """Return one line for each start and each end of a command."""
        file = self.cwd / "probe"
        return file.read_text().split() if file.exists() else []

    def outputs(self) -> list[str]:
        """Return the outputs of the calls in the last model request."""
        return [str(item["output"]) for item in self._last_request()["input"] if "output" in item]

    def last_input(self) -> str:
        """Return all input of the last model request as one text."""
        return str(self._last_request()["input"])

    def _last_request(self) -> dict[str, Any]:
        bodies = [request.body for request in self.deployment.model.requests]
        return [body for body in bodies if body["prompt_cache_key"] == self.thread_id][-1]


def watch(deployment: Deployment, count: int, **params: Any) -> list[WatchedTurn]:
    """Create this many threads with their followers, spread over all API processes. params: of thread/start"""
    nodes = len(deployment.api)
    clients = [deployment.connect(node) for node in range(nodes)]
    watched = []
    for number in range(count):
        client, url = clients[number % nodes], deployment.urls[-1 - number % nodes]
        thread = _start_thread(client, params)
        stream = follow(url, thread["id"], reconnects=True)
        watched.append(WatchedTurn(deployment, client, stream, thread["id"], Path(thread["cwd"])))
    return watched


def _start_thread(client: ProtocolClient, params: dict[str, Any]) -> dict[str, Any]:
    """Start a thread; again while the server says that it is unavailable, as clients do after an outage."""
    started: dict[str, Any] = {}

    def start() -> bool:
        try:
            started.update(client.request("thread/start", params)["thread"])
        except RpcError as error:
            if error.code != UNAVAILABLE:
                raise
        return bool(started)

    until(start)
    return started


def disconnect(watched: Sequence[WatchedTurn]) -> None:
    """Close the followers of all turns."""
    for turn in watched:
        turn.stream.cut()
    for client in {id(turn.client): turn.client for turn in watched}.values():
        client.drop()


def check(turn: WatchedTurn, *, repeated_to_streams: bool = False) -> int:
    """Assert that nothing was lost or run twice, and that each follower received the stored items and one end.

    repeated_to_streams: Redis lost its log, so that a stream that reconnected may receive a completed item again
    Returns:             the number of commands whose outcome is unknown
    """
    stored = turn.stored()
    assert stored["status"] == "completed", stored["error"]
    _check_items(stored["items"])
    unknown = _check_commands(turn, stored["items"])
    _check_follower(turn.frames, turn.turn_id, stored["items"])
    streamed = of_thread(turn.stream.frames, turn.thread_id)
    if repeated_to_streams:
        completed = {frame["params"]["item"]["id"]: frame["params"]["item"] for frame in streamed if _completes(frame)}
        assert list(completed.values()) == stored["items"]
    else:
        _check_follower(streamed, turn.turn_id, stored["items"])
    return unknown


def check_next(turn: WatchedTurn) -> None:
    """Assert that the thread runs another turn."""
    assert run_turn(turn.client, turn.thread_id, "[[say next]]")["status"] == "completed"


def _completes(frame: dict[str, Any]) -> bool:
    return bool(frame["method"] == "item/completed")


def _check_items(items: Sequence[dict[str, Any]]) -> None:
    """Assert that the items are those of the script, in order, each once."""
    assert len({item["id"] for item in items}) == len(items)
    assert [item["type"] for item in items] == TYPES
    assert tuple(item["text"] for item in items if item["type"] == "agentMessage") == MESSAGES


def _check_commands(turn: WatchedTurn, items: Sequence[dict[str, Any]]) -> int:
    commands = [item for item in items if item["type"] == "commandExecution"]
    probe, outputs, unknown = turn.probe(), turn.outputs(), 0
    assert len(outputs) == len(commands)
    for number, (item, output) in enumerate(zip(commands, outputs, strict=True), start=1):
        assert probe.count(f"{number}") <= 1, f"command {number} ran {probe.count(str(number))} times"
        if UNKNOWN in output:
            unknown += 1
            assert item["status"] == "failed"
        else:
            assert item["status"] == "completed", output
            assert probe.count(f"{number}") == probe.count(f"{number}.end") == 1
            assert "working" in output
    return unknown


def _check_follower(frames: Sequence[dict[str, Any]], turn_id: str, items: Sequence[dict[str, Any]]) -> None:
    assert sum(is_end(frame, turn_id) for frame in frames) == 1
    failed = {item["id"] for item in items if item.get("status") == "failed"}  # their output is not stored
    seen = check_order(
        [frame for frame in frames if not ("delta" in frame["params"] and frame["params"]["itemId"] in failed)]
    )
    assert list(seen.completed.values()) == list(items)
    for item in items:
        if item["type"] == "agentMessage":
            assert deltas(frames, item["id"]) == item["text"]


def wait_for_ends(watched: Sequence[WatchedTurn], seconds: float) -> None:
    """Wait until all followers have received the end of their turns, for so many seconds in all."""
    deadline_s = time.monotonic() + seconds
    for turn in watched:
        turn.wait_for_end(max(0.1, deadline_s - time.monotonic()))
