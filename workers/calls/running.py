"""The worker calls that run in this process: their messages, their output, and their heartbeats."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import redis

from shared.errors import Overloaded, Unavailable
from shared.events import worker_calls
from shared.fair_share import FairShare

logger = logging.getLogger(__name__)

MAX_UNRECEIVED = 2  # messages in a row that no caller received; a caller that reconnects misses one

Listener = Callable[[str, Any], None]


class RunningCall:
    """One call.

    owner:     who sent it
    cancelled: its caller no longer waits, or this process shuts down
    draining:  this process shuts down
    """

    def __init__(self, call_id: str, owner: str, answer: worker_calls.WorkerReply) -> None:
        self.id = call_id
        self.owner = owner
        self.answer = answer
        self.cancelled = threading.Event()
        self.draining = False
        self._changed = threading.Condition()
        self._listener: Listener | None = None
        self._early: list[tuple[str, Any]] = []
        self._sent = self._consumed = 0
        self._unreceived = 0

    def subscribe(self, listener: Listener) -> None:
        """Pass each message of the caller, and worker_calls.CANCEL, to a listener, which must return at once."""
        with self._changed:
            self._listener = listener
            for what, value in self._early:
                listener(what, value)
            self._early.clear()

    def deliver(self, what: str, value: Any) -> None:
        """Handle a message of the caller."""
        with self._changed:
            if what == worker_calls.CONSUMED:
                self._consumed = value
            elif what == worker_calls.CANCEL:
                self.cancelled.set()
            self._changed.notify_all()
            if what == worker_calls.CONSUMED:
                return
            if self._listener is None:
                self._early.append((what, value))
            else:
                self._listener(what, value)

    def send_output(self, value: Any) -> None:
        """Send a piece of output. Wait first while the caller has not received too many earlier pieces."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.cancelled.is_set() or self._sent - self._consumed < worker_calls.OUTPUT_WINDOW
            )
            self._sent += 1
        if not self.cancelled.is_set():
            self._count(self.answer.output(value))

    def send_heartbeat(self) -> None:
        """Send a heartbeat. Errors: redis.RedisError"""
        self._count(self.answer.alive())

    def _count(self, received: bool) -> None:
        self._unreceived = 0 if received else self._unreceived + 1
        if self._unreceived >= MAX_UNRECEIVED and not self.cancelled.is_set():
            self.deliver(worker_calls.CANCEL, None)


class RunningCalls:
    """All calls of this process. There is one such object per worker process.

    They take at most half of its threads, because a call may last for a day and turns need threads as well.
    """

    def __init__(self, client: redis.Redis, worker: str, threads: int) -> None:
        """threads: of this process"""
        self._client = client
        self._worker = worker
        self._lock = threading.Lock()
        self._running: dict[str, RunningCall] = {}
        self._draining = False
        self._share = FairShare(max(threads // 2, 2))

    def start(self) -> None:
        threading.Thread(target=self._send_heartbeats, name="calls", daemon=True).start()

    def answer(self, call_id: str) -> worker_calls.WorkerReply:
        return worker_calls.WorkerReply(self._client, call_id)

    def enter(self, call: RunningCall) -> bool:
        """Register a call that begins. Return whether its caller still waits. Errors: Overloaded, Unavailable."""
        with self._lock:
            if self._draining:
                raise Unavailable("the worker is shutting down; try again")
            if not self._share.take(call.owner, 1):
                raise Overloaded(
                    "your commands and requests take your share of this worker's threads; end some, or wait"
                )
            self._running[call.id] = call
        return call.answer.begin(self._worker)

    def leave(self, call: RunningCall) -> None:
        with self._lock:
            if self._running.pop(call.id, None) is not None:
                self._share.give_back(call.owner, 1)

    def handle_message(self, call_id: str, what: str, value: Any) -> None:
        """Pass a message from this worker's channel to its call."""
        call = self._running.get(call_id)
        if call is not None:
            call.deliver(what, value)

    def drain(self) -> None:
        """Accept no more calls, and cancel those that run."""
        with self._lock:
            self._draining = True
            running = list(self._running.values())
        for call in running:
            call.draining = True
            call.deliver(worker_calls.CANCEL, None)

    def _send_heartbeats(self) -> None:
        pause = threading.Event()
        while not pause.wait(worker_calls.ALIVE_SECONDS):
            for call in list(self._running.values()):
                try:
                    call.send_heartbeat()
                except redis.RedisError as error:
                    logger.warning("Redis unreachable, heartbeat of a call not sent: %s", error)
                except Exception:  # the thread must survive
                    logger.exception("heartbeat of a worker call failed")
