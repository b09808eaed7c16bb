"""Requests to stop a running turn, whatever it is waiting for: a model's stream, a command, or time."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StopReason(enum.StrEnum):
    """Why a running turn is asked to stop."""

    INTERRUPT = "interrupt"  # the user stopped the turn: cut the stream, end the commands
    STEER = "steer"  # the user sent more input: cut the stream, leave commands alone
    REVOKED = "revoked"  # another worker may have the turn: end the commands, then write and publish nothing
    DRAIN = "drain"  # this process shuts down: requeue the turn at the next delta; commands get a few seconds


class Signal:
    """The stop requests of one running turn; may be used from any thread.

    A request stays until it is cleared. Only STEER is ever cleared, by the step that reads the input.

    seen_input_id: id of the newest pending input that a step has read; it needs no further STEER
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seen_input_id = 0
        self._reasons: set[StopReason] = set()
        self._listeners: list[Callable[[StopReason], None]] = []
        self._event = threading.Event()

    def __contains__(self, reason: StopReason) -> bool:
        return reason in self._reasons

    def request(self, reason: StopReason) -> None:
        """Request a stop. Listeners run in the caller's thread; a repeated request does not run them again."""
        with self._lock:
            if reason in self._reasons:
                return
            self._reasons.add(reason)
            listeners = list(self._listeners)
            self._event.set()
        for listener in listeners:
            listener(reason)

    def clear(self, reason: StopReason) -> None:
        """Withdraw a request."""
        with self._lock:
            self._reasons.discard(reason)
            if not self._reasons:
                self._event.clear()

    def wait(self, seconds: float) -> bool:
        """Sleep until a stop is requested, at most for seconds; return whether one is requested."""
        return self._event.wait(seconds)

    @contextmanager
    def subscribed(self, listener: Callable[[StopReason], None]) -> Iterator[None]:
        """Call listener(reason) for each request that is already made, and for each one made while the block runs.

        The listener runs in the requesting thread and must return at once.
        """
        with self._lock:
            requested = list(self._reasons)
            self._listeners.append(listener)
        try:
            for reason in requested:
                listener(reason)
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)
