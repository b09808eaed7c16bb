"""A client of the event streams: all that arrives, as it was sent; it can be cut, and come back by its cursor."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.support.wait import until

DEADLINE_S = 20.0
COME_BACK_S = 0.1
EVENT_STREAM = {"Accept": "text/event-stream", "Content-Type": "application/json"}


@dataclass(frozen=True)
class Sent:
    """One event. id: its cursor, or None; data: the bytes of the data field."""

    id: str | None
    name: str
    data: bytes

    @property
    def frame(self) -> Any:
        return json.loads(self.data)


class EventStream:
    """Reads in a thread of its own until the server ends the stream, or `cut`.

    events:      all so far, in order
    comes_back:  a stream that breaks goes on as GET /v2/thread/events of this thread, behind the last event
    """

    def __init__(
        self,
        url: str,
        path: str,
        body: Any = None,
        *,
        after: str | None = None,
        comes_back: str | None = None,
        token: str | None = None,
    ) -> None:
        self.events: list[Sent] = []
        self.status: int | None = None
        self.breaks = 0
        self._token = token
        self._address = urlsplit(url).hostname, urlsplit(url).port
        self._comes_back = comes_back
        self._arrived = threading.Condition()
        self._ended = self._cut = False
        self._socket: socket.socket | None = None
        threading.Thread(target=self._run, args=(path, body, after), daemon=True).start()

    def wait_for(self, wanted: Callable[[Sent], object], deadline_s: float = DEADLINE_S) -> Sent:
        """The first event that is wanted. Errors: TimeoutError; AssertionError, when the stream ends without it."""
        until_s = time.monotonic() + deadline_s
        place = 0
        with self._arrived:
            while True:
                for event in self.events[place:]:
                    if wanted(event):
                        return event
                place = len(self.events)
                assert not self._ended, f"the stream ended (HTTP {self.status}); last: {self.events[-3:]}"
                if not self._arrived.wait(until_s - time.monotonic()):
                    raise TimeoutError(f"not sent in {deadline_s} s; last: {self.events[-3:]}")

    def wait_for_name(self, name: str, deadline_s: float = DEADLINE_S) -> Sent:
        return self.wait_for(lambda event: event.name == name, deadline_s)

    def wait_for_end(self, deadline_s: float = DEADLINE_S) -> list[Sent]:
        """All events of a stream that the server ends."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._ended, deadline_s):
                raise TimeoutError(f"no end in {deadline_s} s; last: {self.events[-3:]}")
        return self.events

    def cut(self) -> None:
        """Hang up."""
        self._cut = True
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)

    @property
    def last_id(self) -> str | None:
        return next((event.id for event in reversed(self.events) if event.id), None)

    @property
    def frames(self) -> list[dict[str, Any]]:
        """The notifications and server requests."""
        return [event.frame for event in list(self.events) if event.name != "result"]

    def _run(self, path: str, body: Any, after: str | None) -> None:
        while True:
            try:
                self._read(path, body, after)
            except (OSError, http.client.HTTPException):
                pass
            if self._cut or self._comes_back is None:
                break
            self.breaks += 1
            path, body, after = f"/v2/thread/events?threadId={self._comes_back}", None, self.last_id or after
            time.sleep(COME_BACK_S)  # what EventSource does, too: not a wait for anything
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()

    def _read(self, path: str, body: Any, after: str | None) -> None:
        connection = http.client.HTTPConnection(*self._address)  # type: ignore[arg-type]
        try:
            headers = EVENT_STREAM | ({"Last-Event-ID": after} if after else {})
            headers |= {"Authorization": f"Bearer {self._token}"} if self._token else {}
            connection.request(
                "GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers
            )
            self._socket = connection.sock
            response = connection.getresponse()
            self.status = response.status
            fields: dict[str, bytes] = {}
            while line := response.readline():
                name, _, value = line.rstrip(b"\n").partition(b": ")
                if name:
                    fields[name.decode()] = value
                elif "data" in fields:
                    self._take(fields)
                    fields = {}
                else:
                    fields = {}
        finally:
            connection.close()

    def _take(self, fields: dict[str, bytes]) -> None:
        event_id = fields["id"].decode() if "id" in fields else None
        with self._arrived:
            self.events.append(Sent(event_id, fields["event"].decode(), fields["data"]))
            self._arrived.notify_all()


def follow(url: str, thread_id: str, *, after: str | None = None, comes_back: bool = False) -> EventStream:
    """The events of a thread, from now or from a cursor on; it has begun when this returns."""
    stream = EventStream(
        url, f"/v2/thread/events?threadId={thread_id}", after=after, comes_back=thread_id if comes_back else None
    )
    until(lambda: stream.status is not None)
    assert stream.status == 200, stream.status
    return stream


def begin_turn(url: str, thread_id: str, text: str) -> EventStream:
    """turn/start as a stream that ends with the turn."""
    return EventStream(url, "/v2/turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": text}]})
