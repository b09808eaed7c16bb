"""Turns that are watched while something dies, and what must hold of them whatever died."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.deployment import Deployment
from tests.support.event_stream import EventStream, follow
from tests.support.protocol_client import ProtocolClient
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

UNKNOWN = "outcome is unknown"
MESSAGES = ("I begin.", "I go on.", "I am done.")
TYPES = ["userMessage", "agentMessage", "commandExecution", "agentMessage", "commandExecution", "agentMessage"]
RUN = "echo {0} >> probe; echo working; sleep 0.15; echo {0}.end >> probe"  # the probe counts how often it ran
SCRIPT = (
    f"[[say {MESSAGES[0]}]]{command(RUN.format(1))}[[say {MESSAGES[1]}]]{command(RUN.format(2))}[[say {MESSAGES[2]}]]"
)


@dataclass
class Watched:
    """A turn in a thread of its own; a WebSocket and an event stream with a cursor follow it."""

    deployment: Deployment
    client: ProtocolClient
    stream: EventStream
    thread_id: str
    cwd: Path
    turn_id: str = ""

    def start(self, script: str = SCRIPT) -> None:
        self.turn_id = start_turn(self.client, self.thread_id, script)

    def wait_for_end(self, deadline_s: float) -> dict[str, Any]:
        """The turn as both followers were told that it ended."""
        turn = wait_for_end(self.client, self.turn_id, deadline_s)
        self.stream.wait_for(lambda event: is_end(event.frame, self.turn_id), deadline_s)
        return turn

    @property
    def frames(self) -> list[dict[str, Any]]:
        return of_thread(self.client.received, self.thread_id)

    def stored(self) -> dict[str, Any]:
        return stored_turn(self.client, self.thread_id, self.turn_id)

    def probe(self) -> list[str]:
        """A line for each time that a command began or ended."""
        file = self.cwd / "probe"
        return file.read_text().split() if file.exists() else []

    def outputs(self) -> list[str]:
        """What the model was told of the calls, by its last request."""
        requests = [
            one.body for one in self.deployment.model.requests if one.body["prompt_cache_key"] == self.thread_id
        ]
        return [str(item["output"]) for item in requests[-1]["input"] if "output" in item]

    def told(self) -> str:
        """Everything that the model was told last."""
        requests = [
            one.body for one in self.deployment.model.requests if one.body["prompt_cache_key"] == self.thread_id
        ]
        return str(requests[-1]["input"])


def watch(deployment: Deployment, count: int) -> list[Watched]:
    """New threads, each with its followers, on all API processes in turn."""
    nodes = len(deployment.api)
    clients = [deployment.connect(node) for node in range(nodes)]
    watched = []
    for number in range(count):
        client, url = clients[number % nodes], deployment.urls[-1 - number % nodes]
        thread = client.request("thread/start", {})["thread"]
        stream = follow(url, thread["id"], comes_back=True)
        watched.append(Watched(deployment, client, stream, thread["id"], Path(thread["cwd"])))
    return watched


def hang_up(watched: Sequence[Watched]) -> None:
    for one in watched:
        one.stream.cut()
    for client in {id(one.client): one.client for one in watched}.values():
        client.drop()


def check(one: Watched, *, repeated_to_streams: bool = False) -> int:
    """Nothing was lost, nothing ran twice, and everybody was told the truth, once. How many outcomes are unknown.

    repeated_to_streams: Redis lost its log, so that a client that came back may hear of a finished item again
    """
    stored = one.stored()
    assert stored["status"] == "completed", stored["error"]
    _check_items(stored["items"])
    unknown = _check_commands(one, stored["items"])
    _check_follower(one.frames, one.turn_id, stored["items"])
    told = of_thread(one.stream.frames, one.thread_id)
    if repeated_to_streams:
        completed = {frame["params"]["item"]["id"]: frame["params"]["item"] for frame in told if _completes(frame)}
        assert list(completed.values()) == stored["items"]
    else:
        _check_follower(told, one.turn_id, stored["items"])
    return unknown


def check_next(one: Watched) -> None:
    """The thread works on."""
    assert run_turn(one.client, one.thread_id, "[[say next]]")["status"] == "completed"


def _completes(frame: dict[str, Any]) -> bool:
    return bool(frame["method"] == "item/completed")


def _check_items(items: Sequence[dict[str, Any]]) -> None:
    """All of the script, in order, and nothing twice."""
    assert len({item["id"] for item in items}) == len(items)
    assert [item["type"] for item in items] == TYPES
    assert tuple(item["text"] for item in items if item["type"] == "agentMessage") == MESSAGES


def _check_commands(one: Watched, items: Sequence[dict[str, Any]]) -> int:
    commands = [item for item in items if item["type"] == "commandExecution"]
    probe, outputs, unknown = one.probe(), one.outputs(), 0
    assert len(outputs) == len(commands)
    for number, (item, output) in enumerate(zip(commands, outputs, strict=True), start=1):
        assert probe.count(f"{number}") <= 1, f"command {number} ran {probe.count(str(number))} times"
        if UNKNOWN in output:
            unknown += 1
            assert item["status"] == "failed"
        else:
            assert item["status"] == "completed"
            assert probe.count(f"{number}") == probe.count(f"{number}.end") == 1
            assert "working" in output
    return unknown


def _check_follower(frames: Sequence[dict[str, Any]], turn_id: str, items: Sequence[dict[str, Any]]) -> None:
    assert sum(is_end(frame, turn_id) for frame in frames) == 1
    outcomes = {item["id"] for item in items if item.get("status") == "failed"}  # what they had said is not stored
    seen = check_order(
        [frame for frame in frames if not ("delta" in frame["params"] and frame["params"]["itemId"] in outcomes)]
    )
    assert list(seen.completed.values()) == list(items)
    for item in items:
        if item["type"] == "agentMessage":
            assert deltas(frames, item["id"]) == item["text"]


def wait_for_ends(watched: Sequence[Watched], seconds: float) -> None:
    """All turns are told to be over, by all followers."""
    until_s = time.monotonic() + seconds
    for one in watched:
        one.wait_for_end(max(0.1, until_s - time.monotonic()))
