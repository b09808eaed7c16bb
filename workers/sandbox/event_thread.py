"""A thread that runs callbacks: calls from other threads, descriptors that became ready, timers."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

logger = logging.getLogger(__name__)


class Timer:
    """A callback at a later time; None once it is cancelled."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None  # the timer stays in the queue, but keeps no object alive


class EventThread:
    """A thread that lives as long as its process. Each callback must return at once; its errors are logged."""

    def __init__(self, name: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._calls: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ, lambda: os.eventfd_read(self._wake))
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, callback: Callable[[], None]) -> None:
        """Run a callback soon; may be called from any thread. All other methods belong to the thread itself."""
        self._calls.append(callback)
        os.eventfd_write(self._wake, 1)

    def later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), timer))
        return timer

    def watch(self, fd: int, callback: Callable[[], object], events: int = selectors.EVENT_READ) -> None:
        """Run a callback whenever a descriptor is ready, until `unwatch`."""
        self._selector.register(fd, events, callback)

    def unwatch(self, fd: int) -> None:
        with suppress(KeyError):
            self._selector.unregister(fd)

    def _run(self) -> None:
        while True:
            due_s = self._timers[0][0] - time.monotonic() if self._timers else None
            for key, _ in self._selector.select(None if due_s is None else max(0.0, due_s)):
                if self._selector.get_map().get(key.fd) is key:  # not unwatched by a callback of this round
                    self._run_callback(key.data)
            while self._calls:
                self._run_callback(self._calls.popleft())
            while self._timers and self._timers[0][0] <= time.monotonic():
                callback = heapq.heappop(self._timers)[2].callback
                if callback is not None:
                    self._run_callback(callback)

    def _run_callback(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except Exception:  # an error of one command must not end the others
            logger.exception("callback of a command failed")
