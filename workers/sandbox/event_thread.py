"""One thread that does what is due: calls from other threads, descriptors that became ready, timers."""

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
    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act

    def cancel(self) -> None:
        self.act = None  # it stays in the queue, but holds nothing


class EventThread:
    """Lives as long as its process. What it is given must return at once; an error of it is logged."""

    def __init__(self, name: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._calls: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ, lambda: os.eventfd_read(self._wake))
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, act: Callable[[], None]) -> None:
        """Have it done soon; from any thread. All other methods are for the thread itself."""
        self._calls.append(act)
        os.eventfd_write(self._wake, 1)

    def later(self, seconds: float, act: Callable[[], None]) -> Timer:
        timer = Timer(act)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), timer))
        return timer

    def watch(self, fd: int, act: Callable[[], object], events: int = selectors.EVENT_READ) -> None:
        self._selector.register(fd, events, act)

    def unwatch(self, fd: int) -> None:
        with suppress(KeyError):
            self._selector.unregister(fd)

    def _run(self) -> None:
        while True:
            due_s = self._timers[0][0] - time.monotonic() if self._timers else None
            for key, _ in self._selector.select(None if due_s is None else max(0.0, due_s)):
                if self._selector.get_map().get(key.fd) is key:  # not dropped by what was done just now
                    self._do(key.data)
            while self._calls:
                self._do(self._calls.popleft())
            while self._timers and self._timers[0][0] <= time.monotonic():
                act = heapq.heappop(self._timers)[2].act
                if act is not None:
                    self._do(act)

    def _do(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception:  # one command must not take the others with it
            logger.exception("a command's event failed")
