"""Streams of server-sent events: a stream that nothing can come on is silent, so that its client connects again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import redis

from api.delivery.close_codes import GOING_AWAY, Closed
from api.delivery.connection import Connection
from api.delivery.frames import Frame, notification
from api.transport import event_streams


class Dequeued:
    """A connection that gives these, and is then closed: frames, or an error."""

    def __init__(self, *found: list[Frame] | Exception) -> None:
        self._found: Iterator[list[Frame] | Exception] = iter((*found, Closed(GOING_AWAY, "over")))

    def dequeue(self, _timeout_s: float) -> list[Frame]:
        found = next(self._found)
        if isinstance(found, Exception):
            raise found
        return found

    def followed(self) -> list[str]:
        return []


def sent(connection: Dequeued, *live: bool) -> bytes:
    answers = iter(live)
    stream = event_streams._events(
        cast(Connection, cast(Any, connection)), lambda frame: False, b"", None, lambda: next(answers)
    )
    return b"".join(stream)


def test_a_stream_is_kept_alive_while_events_can_come() -> None:
    assert sent(Dequeued([], []), True, True) == b": keep-alive\n\n" * 2


def test_a_stream_is_silent_while_redis_is_away(monkeypatch: Any) -> None:
    monkeypatch.setattr(event_streams, "RETRY_SECONDS", 0)

    assert sent(Dequeued([], redis.ConnectionError("away"), []), False, False) == b""


def test_what_has_come_is_sent_all_the_same() -> None:
    assert b"event: warning" in sent(Dequeued([notification("warning", {"message": "x"})]), False)
