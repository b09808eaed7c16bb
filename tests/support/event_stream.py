"""A client of the event streams. It records every event, can be cut, and reconnects with its cursor."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.support.wait import until

DEADLINE_S = 60.0
RECONNECT_S = 0.1
EVENT_STREAM = {"Accept": "text/event-stream", "Content-Type": "application/json"}


@dataclass(frozen=True)
class Sent:
    """An event that the server sent. id: its cursor, or None; data: the bytes of the data field."""

    id: str | None
    name: str
    data: bytes

    @property
    def frame(self) -> Any:
        return json.loads(self.data)


class EventStream:
    """A stream that a background thread reads until the server ends it, or until `cut`.

    events:      all events so far, in order
    status:      the HTTP status of the answer, once it has arrived
    breaks:      how often the stream broke and reconnected
    reconnects:  a thread id: a broken stream resumes as GET /v2/thread/events of it, after the last event
    """

    def __init__(
        self,
        url: str,
        path: str,
        body: Any = None,
        *,
        after: str | None = None,
        reconnects: str | None = None,
        token: str | None = None,
        scheme: str = "Bearer",
    ) -> None:
        self.events: list[Sent] = []
        self.status: int | None = None
        self.breaks = 0
        self._authorization = f"{scheme} {token}" if token else None
        self._address = urlsplit(url).hostname, urlsplit(url).port
        self._comes_back = reconnects
        self._arrived = threading.Condition()
        self._ended = self._cut = False
        self._socket: socket.socket | None = None
        threading.Thread(target=self._run, args=(path, body, after), daemon=True).start()

    def wait_for(self, wanted: Callable[[Sent], object], deadline_s: float = DEADLINE_S) -> Sent:
        """Return the first event that `wanted` accepts. Errors: TimeoutError; AssertionError when the stream ends."""
        until_s = time.monotonic() + deadline_s
        checked = 0
        with self._arrived:
            while True:
                for event in self.events[checked:]:
                    if wanted(event):
                        return event
                checked = len(self.events)
                assert not self._ended, f"the stream ended (HTTP {self.status}); last: {self.events[-3:]}"
                if not self._arrived.wait(until_s - time.monotonic()):
                    raise TimeoutError(f"not sent in {deadline_s} s; last: {self.events[-3:]}")

    def wait_for_name(self, name: str, deadline_s: float = DEADLINE_S) -> Sent:
        return self.wait_for(lambda event: event.name == name, deadline_s)

    def wait_for_end(self, deadline_s: float = DEADLINE_S) -> list[Sent]:
        """Wait until the server ends the stream. Return all its events. Errors: TimeoutError."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._ended, deadline_s):
                raise TimeoutError(f"no end in {deadline_s} s; last: {self.events[-3:]}")
        return self.events

    def cut(self) -> None:
        """Close the connection."""
        self._cut = True
        if self._socket is not None:
            with suppress(OSError):  # the server has closed it
                self._socket.shutdown(socket.SHUT_RDWR)

    @property
    def last_id(self) -> str | None:
        """The cursor of the newest event that has one, or None."""
        return next((event.id for event in reversed(self.events) if event.id), None)

    @property
    def frames(self) -> list[dict[str, Any]]:
        """The notifications and server requests so far."""
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
            time.sleep(RECONNECT_S)  # as EventSource does; nothing is awaited here
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()

    def _read(self, path: str, body: Any, after: str | None) -> None:
        connection = http.client.HTTPConnection(*self._address)  # type: ignore[arg-type]
        try:
            headers = EVENT_STREAM | ({"Last-Event-ID": after} if after else {})
            headers |= {"Authorization": self._authorization} if self._authorization else {}
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
                    self._record(fields)
                    fields = {}
                else:
                    fields = {}
        finally:
            connection.close()

    def _record(self, fields: dict[str, bytes]) -> None:
        event_id = fields["id"].decode() if "id" in fields else None
        with self._arrived:
            self.events.append(Sent(event_id, fields["event"].decode(), fields["data"]))
            self._arrived.notify_all()


def follow(url: str, thread_id: str, *, after: str | None = None, reconnects: bool = False) -> EventStream:
    """Open the events of a thread, from now on or after a cursor. Returns once the stream is open."""
    stream = EventStream(
        url, f"/v2/thread/events?threadId={thread_id}", after=after, reconnects=thread_id if reconnects else None
    )
    until(lambda: stream.status is not None)
    assert stream.status == 200, stream.status
    return stream


def begin_turn(url: str, thread_id: str, text: str) -> EventStream:
    """Send turn/start as a stream, which ends with the turn."""
    return EventStream(url, "/v2/turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": text}]})
