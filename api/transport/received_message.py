"""One message of a WebSocket while its frames arrive: how large it may be, and how long it may take."""

from __future__ import annotations

import time

from api.access.capacity import STEP_BYTES, BodyMemory
from api.delivery.close_codes import TIMED_OUT, TOO_BIG, TRY_AGAIN_LATER, Closed
from shared.errors import Overloaded

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
MESSAGE_SECONDS = 120.0  # in which a message that has begun has to arrive
SILENCE_SECONDS = 20.0  # that its client may send nothing meanwhile


class ReceivedMessage:
    """The parts of one message. Used by its connection's reader alone.

    reserved: the memory that the message takes; a small one that arrives at once takes none
    """

    def __init__(self, memory: BodyMemory, user_id: str) -> None:
        self.reserved = memory.reserve(user_id)
        self._parts: list[str] = []
        self._bytes = 0
        self._until_s: float | None = None

    def add(self, text: str, size_bytes: int, *, is_last: bool) -> None:
        """Add a part. text: "" for one that is dropped, whose size counts all the same. Errors: Closed."""
        if text:
            self._parts.append(text)
        self._bytes += size_bytes
        if self._bytes > MAX_MESSAGE_BYTES:
            raise Closed(TOO_BIG, "a frame is larger than 16 MiB")
        if self._until_s is None:
            self._until_s = time.monotonic() + MESSAGE_SECONDS
        if not is_last or self._bytes > STEP_BYTES:
            try:
                self.reserved.grow_to(self._bytes)
            except Overloaded as error:
                raise Closed(TRY_AGAIN_LATER, str(error)) from None

    def patience(self) -> tuple[float, Closed] | None:
        """Return how many seconds the next part may take, and how the connection ends then. None: none has begun."""
        if self._until_s is None:
            return None
        left_s = max(0.001, min(SILENCE_SECONDS, self._until_s - time.monotonic()))
        return left_s, Closed(TIMED_OUT, "a message that has begun did not arrive in time")

    def text(self) -> str:
        """Return the whole message."""
        return "".join(self._parts)
