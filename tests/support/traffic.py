"""Counts how often the processes of a deployment ask a server."""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass, field

STARTUP_BYTES = 8  # of a Postgres client's first message at least; SSLRequest and its like have no more
# Messages of a Postgres client: it runs a statement with Query or Execute, and waits for the answer to Query or Sync.
STATEMENTS, WAITS = (b"Q", b"E"), (b"Q", b"S")


@dataclass(eq=False)
class Traffic:
    """What has passed a FaultProxy whose `observer` is `observe`.

    is_postgres: whether the server is Postgres, whose clients may send more before an answer comes
    round_trips: how often a client waited for an answer
    """

    is_postgres: bool = False
    round_trips: int = 0
    statements: int = 0
    _waiting: set[object] = field(default_factory=set)
    _streams: dict[object, _Stream] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        with self._lock:
            self.round_trips = self.statements = 0

    def observe(self, link: object, from_client: bool, data: bytes) -> None:
        """Count what passes on one connection."""
        with self._lock:
            if not from_client:
                self._waiting.discard(link)
            elif self.is_postgres:
                for message in self._streams.setdefault(link, _Stream()).feed(data):
                    self.statements += message in STATEMENTS
                    self.round_trips += message in WAITS
            else:
                self.round_trips += link not in self._waiting
                self._waiting.add(link)


@dataclass
class _Stream:
    """What a Postgres client sends on one connection (the protocol's version 3)."""

    unread: bytes = b""
    has_begun: bool = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the types of the messages that end with this."""
        self.unread += data
        types = []
        while len(self.unread) >= STARTUP_BYTES or (self.has_begun and len(self.unread) >= 5):
            begins_at = 1 if self.has_begun else 0  # the first messages have no type
            (length,) = struct.unpack_from(">I", self.unread, begins_at)
            if len(self.unread) < begins_at + length:
                break
            if self.has_begun:
                types.append(self.unread[:1])
            self.has_begun = self.has_begun or length > STARTUP_BYTES
            self.unread = self.unread[begins_at + length :]
        return types
