"""The calls that run in this process, and their life signs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import redis

from shared import calls
from shared.errors import Overloaded, Unavailable

logger = logging.getLogger(__name__)

MAX_CALLS_OF_OWNER = 64  # in one process, so that nobody takes all of its threads
UNHEARD_MOST = 2  # messages in a row that nobody got; a listener that reconnects misses one

Listener = Callable[[str, Any], None]


class RunningCall:
    """One call. owner: who asked; cancelled: nobody waits for it any more, or the process shuts down."""

    def __init__(self, call_id: str, owner: str, answer: calls.Answer) -> None:
        self.id = call_id
        self.owner = owner
        self.answer = answer
        self.cancelled = threading.Event()
        self.draining = False
        self._changed = threading.Condition()
        self._listener: Listener | None = None
        self._early: list[tuple[str, Any]] = []
        self._sent = self._taken = 0
        self._unheard = 0

    def heard_by(self, listener: Listener) -> None:
        """Pass on what the caller says, from the first word on, and calls.CANCEL. The listener must return at once."""
        with self._changed:
            self._listener = listener
            for what, value in self._early:
                listener(what, value)
            self._early.clear()

    def tell(self, what: str, value: Any) -> None:
        """The caller said something."""
        with self._changed:
            if what == calls.TAKEN:
                self._taken = value
            elif what == calls.CANCEL:
                self.cancelled.set()
            self._changed.notify_all()
            if what == calls.TAKEN:
                return
            if self._listener is None:
                self._early.append((what, value))
            else:
                self._listener(what, value)

    def output(self, value: Any) -> None:
        """Send a piece of output; waits while the caller does not take what is there."""
        with self._changed:
            self._changed.wait_for(lambda: self.cancelled.is_set() or self._sent - self._taken < calls.OUTPUT_WINDOW)
            self._sent += 1
        if not self.cancelled.is_set():
            self._count(self.answer.output(value))

    def alive(self) -> None:
        """Errors: redis.RedisError"""
        self._count(self.answer.alive())

    def _count(self, heard: bool) -> None:
        self._unheard = 0 if heard else self._unheard + 1
        if self._unheard >= UNHEARD_MOST and not self.cancelled.is_set():
            self.tell(calls.CANCEL, None)


class RunningCalls:
    """One object a worker process."""

    def __init__(self, client: redis.Redis, worker: str) -> None:
        self._client = client
        self._worker = worker
        self._lock = threading.Lock()
        self._running: dict[str, RunningCall] = {}
        self._draining = False

    def start(self) -> None:
        threading.Thread(target=self._live, name="calls", daemon=True).start()

    def answer(self, call_id: str) -> calls.Answer:
        return calls.Answer(self._client, call_id)

    def enter(self, call: RunningCall) -> bool:
        """A call begins to run here; whether anybody waits for it. Errors: Overloaded, Unavailable."""
        with self._lock:
            if self._draining:
                raise Unavailable("the worker shuts down; try again")
            if sum(one.owner == call.owner for one in self._running.values()) >= MAX_CALLS_OF_OWNER:
                raise Overloaded(f"{MAX_CALLS_OF_OWNER} commands and requests of yours run on this worker already")
            self._running[call.id] = call
        return call.answer.begin(self._worker)

    def leave(self, call: RunningCall) -> None:
        with self._lock:
            self._running.pop(call.id, None)

    def hear(self, payload: bytes) -> None:
        """What came over this worker's channel."""
        call_id, what, value = calls.parse(payload)
        call = self._running.get(call_id)
        if call is not None:
            call.tell(what, value)

    def drain(self) -> None:
        """Take no more, and end what waits for something."""
        with self._lock:
            self._draining = True
            running = list(self._running.values())
        for call in running:
            call.draining = True
            call.tell(calls.CANCEL, None)

    def _live(self) -> None:
        pause = threading.Event()
        while not pause.wait(calls.ALIVE_SECONDS):
            for call in list(self._running.values()):
                try:
                    call.alive()
                except redis.RedisError as error:
                    logger.warning("a call's caller is out of reach: %s", error)
                except Exception:  # the thread must live
                    logger.exception("a call's sign of life failed")
