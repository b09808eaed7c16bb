"""Connections that break at any byte: over each transport a client gets every event of a turn once, in order."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import websocket

from tests.support.bridge import spawn
from tests.support.cuttable import Wire
from tests.support.deployment import Deployment
from tests.support.event_stream import RECONNECT_S, EventStream
from tests.support.protocol_client import ConnectionLost, connect
from tests.support.turns import command, is_end, of_thread, start_thread, start_turn
from tests.support.wait import until

CUTS = int(os.environ.get("THREADHOUSE_CHAOS_CUTS") or 30)  # of each transport
SEED = int(os.environ.get("THREADHOUSE_CHAOS_SEED") or 20_261_128)
FIRST, SPREAD_BYTES = 1, 30_000  # a cut comes after so many bytes of the server, in a connection or over several
TOKEN_USAGE = "thread/tokenUsage/updated"
BEFORE_FIRST_EVENT = "0-0"
SCRIPT = (
    "[[reason Hm.]][[say n=40 delay_ms=4]]"
    + command("for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.02; done")
    + "[[say n=40 delay_ms=4]]"
)

Event = dict[str, Any]


class WebSocketWithCursor:
    """A client that follows a thread, and resumes behind the last event it has whenever its connection breaks."""

    def __init__(self, url: str, thread_id: str) -> None:
        self.frames: list[Event] = []
        self._url, self._thread_id = url.replace("http", "ws", 1), thread_id
        self._is_closed = False
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._is_closed = True

    def _run(self) -> None:
        while not self._is_closed:
            try:
                self._follow()
            except (OSError, websocket.WebSocketException, ConnectionLost):
                time.sleep(RECONNECT_S)  # as clients do; nothing is awaited here

    def _follow(self) -> None:
        cursor = next((frame["eventId"] for frame in reversed(self.frames)), BEFORE_FIRST_EVENT)
        client = connect(self._url)
        read = 0
        try:
            client.initialize()
            client.request("thread/resume", {"threadId": self._thread_id, "afterEventId": cursor, "excludeTurns": True})
            while True:
                frame = client.wait_for(lambda frame: "method" in frame and "eventId" in frame, after=read)
                read = client.received.index(frame, read) + 1
                self.frames.append(frame)
        finally:
            client.drop()


@pytest.fixture
def wires() -> Iterator[Callable[..., Wire]]:
    """A function that makes a proxy to the first of some servers, whose connections break at random bytes."""
    rng = random.Random(SEED)
    with ExitStack() as stack:
        yield lambda urls: stack.enter_context(
            Wire(
                *(url.removeprefix("http://") for url in urls),
                next_cut=lambda: rng.randint(FIRST, SPREAD_BYTES),
            )
        )


@pytest.mark.timeout(120 + 10 * CUTS)
def test_cuts_at_any_byte_lose_and_repeat_nothing(
    deploy: Callable[..., Deployment], wires: Callable[..., Wire]
) -> None:
    deployment = deploy(api=2, workers=2)
    whole = deployment.connect(1)  # its connection is never cut
    print(f"{CUTS} cuts of each transport with THREADHOUSE_CHAOS_SEED={SEED}")
    cut = {name: wires(deployment.urls) for name in ("event stream", "WebSocket", "bridge")}

    turns = 0
    while any(wire.cuts < CUTS for wire in cut.values()):
        turns += 1
        run_one_turn_over_all(deployment, whole, cut)

    print(f"{turns} turns; cuts: { ({name: wire.cuts for name, wire in cut.items()}) }")


def run_one_turn_over_all(deployment: Deployment, whole: Any, cut: dict[str, Wire]) -> None:
    """Follow one turn over each transport, and compare what arrived with what the connection without cuts got."""
    thread_id = start_thread(whole)
    path = f"/v2/thread/events?threadId={thread_id}"
    cut["bridge"].next_cut, next_cut = None, cut["bridge"].next_cut  # a bridge ends when its first connection fails
    with spawn(cut["bridge"].url) as spawned:
        bridge = spawned.client
        bridge.initialize()
        bridge.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        cut["bridge"].next_cut = next_cut
        stream = EventStream(cut["event stream"].url, path, after=BEFORE_FIRST_EVENT, reconnects=thread_id)
        socket = WebSocketWithCursor(cut["WebSocket"].url, thread_id)
        arrived: dict[str, Callable[[], list[Event]]] = {
            "event stream": lambda: stream.frames,
            "WebSocket": lambda: list(socket.frames),
            "bridge": lambda: bridge.notifications,
        }
        try:
            turn_id = start_turn(whole, thread_id, SCRIPT)
            whole.wait_for(lambda frame: is_end(frame, turn_id))
            for name, frames in arrived.items():
                try:
                    until(lambda frames=frames: any(is_end(frame, turn_id) for frame in frames()), seconds=60)  # type: ignore[misc]
                except AssertionError:
                    pytest.fail(
                        f"the {name} was not told of the turn's end; {len(frames())} frames, the last: {frames()[-1:]}"
                    )
                expected = told_of_turn(whole.notifications, thread_id, turn_id)
                assert told_of_turn(frames(), thread_id, turn_id) == expected, name
        finally:
            socket.close()
            stream.cut()


def told_of_turn(frames: list[Event], thread_id: str, turn_id: str) -> list[tuple[str, str]]:
    """Return what a client was told of a turn: (method, item or params), the deltas of an item joined.

    The bridge may join deltas, or cut one whose beginning its client has. Every thread/resume repeats the token usage.
    """
    told: list[tuple[str, str]] = []
    for frame in of_thread(frames, thread_id):
        method, params = frame["method"], frame["params"]
        if params.get("turnId", params.get("turn", {}).get("id")) != turn_id or method == TOKEN_USAGE:
            continue
        if "delta" not in params:
            told.append((method, json.dumps(params.get("item", params.get("turn", {}).get("status")), sort_keys=True)))
        elif told and told[-1][0] == f"{method} {params['itemId']}":
            told[-1] = told[-1][0], told[-1][1] + params["delta"]
        else:
            told.append((f"{method} {params['itemId']}", params["delta"]))
    return told
