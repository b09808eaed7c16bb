"""What one API process has for all users together: connections, and memory for the bodies of requests and for replies.

Each user may reserve as much as is still free. A body, or a message of a WebSocket, counts from its first byte until
its request was answered, because its contents live as long. Imports nothing that gevent patches (see api.cli.web).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from api.access.read_rate import ReadRate
from shared.errors import Overloaded
from shared.fair_share import FairShare

CONNECTIONS = 5_000  # open WebSockets and event streams
BODIES_BYTES = 256 << 20
REPLIES_BYTES = 256 << 20  # of large replies that clients have not taken yet
LARGE_REPLY_BYTES = 64 << 10  # smaller ones are not counted: one connection has few of them
STEP_BYTES = 128 << 10  # what a body counts at least, so that the number of bodies is limited, too


class BodyMemory:
    """The memory for all bodies of this process, and how fast they are read."""

    def __init__(self) -> None:
        self._share = FairShare(BODIES_BYTES)
        self._rate = ReadRate()

    def reserve(self, user_id: str) -> BodyReservation:
        """Return a reservation for one body of the user. It has no memory yet."""
        return BodyReservation(self._share, self._rate, user_id)


class ReplyMemory:
    """The memory for all large replies of this process, from when they are made until their clients have taken them."""

    def __init__(self) -> None:
        self._share = FairShare(REPLIES_BYTES)

    def reserve(self, user_id: str, size_bytes: int) -> Callable[[], None]:
        """Reserve memory for a reply; return a function that gives it back, to be called once. Errors: Overloaded."""
        if size_bytes < LARGE_REPLY_BYTES:
            return lambda: None
        if not self._share.take(user_id, size_bytes):
            raise Overloaded("too many large replies wait for your clients; retry when they have read some")
        return partial(self._share.give_back, user_id, size_bytes)


class BodyReservation:
    """The memory reserved for one body, until `release` or the end of a `with` block. Not thread-safe."""

    def __init__(self, share: FairShare, rate: ReadRate, user_id: str) -> None:
        self._share = share
        self._rate = rate
        self._user_id = user_id
        self._bytes = 0

    def __enter__(self) -> BodyReservation:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def grow_to(self, size_bytes: int) -> None:
        """Reserve memory for so many bytes, at least STEP_BYTES. Errors: Overloaded, which changes nothing."""
        wanted = max(1, -(-size_bytes // STEP_BYTES)) * STEP_BYTES
        if wanted <= self._bytes:
            return
        if not self._share.take(self._user_id, wanted - self._bytes):
            raise Overloaded("your requests take too much of the server's memory; retry when some were answered")
        self._bytes = wanted

    def pause_after(self, size_bytes: int) -> float:
        """Count bytes that were read. Return for how many seconds their reader must pause; 0: it may go on."""
        return self._rate.pause_after(self._user_id, size_bytes)

    def transfer(self) -> BodyReservation:
        """Move the memory to a new reservation and return it, for a request that goes on without its reader."""
        other = BodyReservation(self._share, self._rate, self._user_id)
        other._bytes, self._bytes = self._bytes, 0
        return other

    def release(self) -> None:
        """Give all of the memory back."""
        self._share.give_back(self._user_id, self._bytes)
        self._bytes = 0
