"""The bounded queue of frames that wait to be sent to one client."""

from __future__ import annotations

from collections import deque

from api.delivery.frames import Frame

MAX_QUEUED_FRAMES = 1000
MAX_QUEUED_BYTES = 1024 * 1024
MAX_LATEST_BYTES = 4 * MAX_QUEUED_BYTES  # of user-scope notifications that a full queue keeps


class OutgoingQueue:
    """Frames in the order in which they are sent. Not thread-safe: Connection calls it under its lock.

    The bounds are advisory: callers look at `is_full` before they append, so that a reply stays together with the
    frames that follow it.
    """

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._latest: dict[tuple[str, str], Frame] = {}
        self._latest_bytes = 0

    def __len__(self) -> int:
        return len(self._frames) + len(self._latest)

    @property
    def is_full(self) -> bool:
        return len(self._frames) >= MAX_QUEUED_FRAMES or self._bytes >= MAX_QUEUED_BYTES

    def append(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._bytes += len(frame.data)

    def append_latest(self, thread_id: str, frame: Frame) -> bool:
        """Append a notification that no log can replay; a full queue keeps only the newest per thread and method.

        Return whether those fit into MAX_LATEST_BYTES: a user may have any number of threads.
        """
        if not self.is_full and not self._latest:
            self.append(frame)
            return True
        key = (thread_id, frame.method)
        if (replaced := self._latest.get(key)) is not None:
            self._latest_bytes -= len(replaced.data)
        self._latest[key] = frame
        self._latest_bytes += len(frame.data)
        return self._latest_bytes <= MAX_LATEST_BYTES

    def drain(self) -> list[Frame]:
        """Remove and return all frames."""
        frames = [*self._frames, *self._latest.values()]
        self._frames.clear()
        self._latest.clear()
        self._bytes = self._latest_bytes = 0
        return frames
