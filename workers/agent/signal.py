"""What a running turn must hear at once, whatever it is waiting for."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Why(enum.StrEnum):
    """Why a running turn is called."""

    INTERRUPT = "interrupt"  # the user said stop: cut the stream, end the commands
    STEER = "steer"  # the user said more: cut the stream, leave commands alone
    LOST = "lost"  # another worker may have the turn: end the commands, then not a word
    DRAIN = "drain"  # this process shuts down: hand over at the next delta; commands get a few seconds


class Signal:
    """Calls of one running turn; raised from any thread, heard in any.

    A call stays until it is cleared; only STEER ever is, by the step that takes the input.

    seen_mail: id of the newest letter that a step has found; nobody need call for that one
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seen_mail = 0
        self._whys: set[Why] = set()
        self._listeners: list[Callable[[Why], None]] = []
        self._event = threading.Event()

    def __contains__(self, why: Why) -> bool:
        return why in self._whys

    def call(self, why: Why) -> None:
        """Raise a call. Listeners hear it in this thread; a repeated call is not heard again."""
        with self._lock:
            if why in self._whys:
                return
            self._whys.add(why)
            listeners = list(self._listeners)
            self._event.set()
        for listener in listeners:
            listener(why)

    def clear(self, why: Why) -> None:
        with self._lock:
            self._whys.discard(why)
            if not self._whys:
                self._event.clear()

    def wait(self, seconds: float) -> bool:
        """Sleep unless called; whether a call stands."""
        return self._event.wait(seconds)

    @contextmanager
    def heard_by(self, listener: Callable[[Why], None]) -> Iterator[None]:
        """Call listener(why) for each call that stands already and each that comes while the block runs.

        The listener runs in the caller's thread and must return at once.
        """
        with self._lock:
            standing = list(self._whys)
            self._listeners.append(listener)
        try:
            for why in standing:
                listener(why)
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)
