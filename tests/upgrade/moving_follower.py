"""A client that follows a thread and moves between API processes with its cursor, and what it must have received."""

from __future__ import annotations

from typing import Any

from tests.support import order
from tests.support.deployment import Deployment
from tests.support.event_stream import EventStream, follow
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import after_reply, deltas, events, is_end, of_thread
from tests.support.wait import until

Frame = dict[str, Any]


class MovingFollower:
    """Follows one thread over a WebSocket and over an event stream, on one API process at a time.

    client:  the connection to the present API process
    thread:  the thread as thread/start has returned it
    """

    def __init__(self, deployment: Deployment, node: int, **params: Any) -> None:
        self._deployment = deployment
        self._earlier: list[list[Frame]] = [[], []]  # what the earlier connections received: WebSocket, event stream
        self._resumed: int | None = None  # id of the request that resumed the thread on the present connection
        self.client: ProtocolClient = deployment.connect(node)
        self.thread: dict[str, Any] = self.client.request("thread/start", params)["thread"]
        self._stream: EventStream = follow(deployment.urls[node], self.id)

    @property
    def id(self) -> str:
        return str(self.thread["id"])

    def move(self, node: int) -> None:
        """Drop both connections and follow on another API process, each from its last event on."""
        self.client.drop()
        self.client.wait_until_lost()
        self._stream.cut()
        self._stream.wait_for_end()
        self._earlier = [self.frames, self.streamed]
        after_event, after_streamed = self.frames[-1]["eventId"], self._stream.last_id
        self.client = self._deployment.connect(node)
        params = {"threadId": self.id, "excludeTurns": True, "afterEventId": after_event}
        self._resumed = self.client.send_request("thread/resume", params)
        self.client.result(self._resumed)
        self._stream = follow(self._deployment.urls[node], self.id, after=after_streamed)

    @property
    def frames(self) -> list[Frame]:
        """The events that the WebSockets received so far. Not what only a resumed connection gets, without eventId."""
        received = list(self.client.received)
        if self._resumed is not None:
            received = after_reply(received, self._resumed)
        return self._earlier[0] + [frame for frame in of_thread(received, self.id) if "eventId" in frame]

    @property
    def streamed(self) -> list[Frame]:
        """The events that the event streams received so far."""
        return self._earlier[1] + of_thread(self._stream.frames, self.id)

    def wait_for(self, method: str, text: str = "", *, count: int = 1) -> Frame:
        """Wait until both connections have received so many events of this method with the text. Return the last."""

        def found(frames: list[Frame]) -> list[Frame]:
            return [frame for frame in frames if frame["method"] == method and text in str(frame["params"])]

        until(lambda: len(found(self.frames)) >= count and len(found(self.streamed)) >= count)
        return found(self.frames)[count - 1]

    def check(self) -> list[Frame]:
        """Assert that both received each stored item and each delta once. Return the items of the last turn."""
        params = {"threadId": self.id, "includeTurns": True}
        turns = self.client.request("thread/read", params)["thread"]["turns"]
        items = [item for turn in turns for item in turn["items"]]
        unfinished = {item["id"] for item in items if item.get("status") == "failed"}  # not all output is stored
        for frames in (self.frames, self.streamed):
            whole = [frame for frame in frames if frame["params"].get("itemId") not in unfinished]
            seen = order.check(events(whole), sessions=True)
            assert list(seen.completed.values()) == items
            for turn in turns:
                assert sum(is_end(frame, turn["id"]) for frame in frames) == 1
            for item in items:
                if item["type"] == "agentMessage":
                    assert deltas(frames, item["id"]) == item["text"]
        last: list[Frame] = turns[-1]["items"]
        return last
