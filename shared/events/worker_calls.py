"""Worker calls: requests that an API process sends to a worker through Redis, because they need a workspace.

The API enqueues the call as a task. The worker publishes its answers on the call's own channel: its name, heartbeats,
output, the result. The API publishes further messages for the call (input, cancel, credit for more output) on the
channel of the worker process. Nothing is stored: a call whose worker is lost ends with an error, and the worker cancels
a call when nobody subscribes to its channel any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import orjson
import redis

from shared.errors import (
    CallLost,
    Conflict,
    InvalidParams,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unavailable,
    UnknownMethod,
)
from shared.event_names import call_channel, worker_channel
from shared.ids import new_id
from shared.queue import Queue

START_SECONDS = 10.0  # how long a call waits for a worker to begin it
ALIVE_SECONDS = 2.0  # between a worker's heartbeats
SILENCE_SECONDS = 10.0  # without a message for so long the worker is lost
MAX_RESULT_BYTES = 16 * 1024 * 1024
MAX_PUBLISHED_BYTES = 256 * 1024  # of a result; larger ones are stored, for Redis drops slow subscribers
RESULT_TTL_SECONDS = 60  # of a stored result
OUTPUT_WINDOW = 32  # output messages that a worker sends ahead of the caller's last CONSUMED
CONSUMED_EVERY = 8  # output messages; how often the caller sends CONSUMED
MAX_EARLY_MESSAGES = 64  # kept for the worker until one begins the call

CANCEL, CONSUMED = "cancel", "consumed"  # messages of a caller to every kind of call

# Errors that a worker may answer with instead of a result; any other error becomes "internal error".
ERRORS = {
    one.__name__: one
    for one in (InvalidRequest, NotFound, Conflict, InvalidParams, UnknownMethod, Overloaded, Unavailable, CallLost)
}


class Subscriptions(Protocol):
    """Subscriptions to Redis channels that share one connection of this process."""

    def subscribe(self, channel: str, handle_message: Callable[[bytes], None]) -> None:
        """Subscribe, and return when it is in effect. handle_message must return at once. Errors: Unavailable."""

    def unsubscribe(self, channel: str, handle_message: Callable[[bytes], None]) -> None:
        """Stop calling handle_message with messages of the channel."""


class WorkerCall:
    """The caller's side of one call. Call `start`, then `wait` or `outputs`; the rest from any thread meanwhile."""

    def __init__(
        self, client: redis.Redis, queue: Queue, subscriptions: Subscriptions, kind: str, params: Any, owner: str
    ) -> None:
        """kind, params: as workers/tasks/run_call.py expects them; params is JSON."""
        self.id = new_id()
        self._client = client
        self._queue = queue
        self._subscriptions = subscriptions
        self._kind = kind
        self.params = params
        self._owner = owner
        self._lock = threading.Lock()
        self._inbox: SimpleQueue[list[Any]] = SimpleQueue()
        self._worker: str | None = None
        self._early: list[bytes] = []
        self._over = False

    def start(self) -> None:
        """Enqueue the call. It subscribes first, so that no answer is lost. Errors: Unavailable."""
        self._subscriptions.subscribe(call_channel(self.id), self._handle_message)
        try:
            self._queue.enqueue_call(self.id, self._kind, self.params, self._owner, expires_s=START_SECONDS)
        except BaseException:
            self._end()
            raise

    def wait(self, deadline_s: float | None, on_output: Callable[[Any], None] | None = None) -> Any:
        """Wait for the result and return it.

        on_output:  called with each piece of output, in order, before this returns; while it blocks, the worker sends
                    at most OUTPUT_WINDOW more
        deadline_s, Errors: as of `outputs`
        """
        outputs = self.outputs(deadline_s)
        try:
            while True:
                value = next(outputs)
                if on_output is not None:
                    on_output(value)
        except StopIteration as end:
            return end.value
        finally:
            outputs.close()

    def outputs(self, deadline_s: float | None) -> Generator[Any, None, Any]:
        """Yield the output piece by piece and return the result. Closing the generator early cancels the call.

        deadline_s: seconds from now; None: as long as the worker lives
        Errors:     the error that the worker answered with; Unavailable: no worker began the call, so nothing was done;
                    CallLost: the worker is lost, or the call was not finished in time
        """
        until_s = time.monotonic() + (float("inf") if deadline_s is None else deadline_s)
        outputs = 0
        try:
            while True:
                what, *values = self._next(until_s)
                if what == "begun":
                    self._set_worker(values[0])
                elif what == "output":
                    yield values[0]
                    outputs += 1
                    if outputs % CONSUMED_EVERY == 0:
                        self.send(CONSUMED, outputs)
                elif what == "result":
                    return values[0]
                elif what == "stored":
                    return self._fetch()
                elif what == "error":
                    raise ERRORS[values[0]](values[1]) if values[0] in ERRORS else RuntimeError(values[1])
                elif what == CANCEL:
                    raise InvalidRequest("cancelled")
        except BaseException as error:
            if not isinstance(error, CallLost):
                self._send_quietly(CANCEL)
            raise
        finally:
            self._end()

    def send(self, what: str, value: object = None) -> None:
        """Send a message to the worker that runs the call; until one does, the message is kept.

        Errors: NotFound: the call is over or its worker is gone; Overloaded: too many messages are kept
        """
        message = orjson.dumps([self.id, what, value])
        with self._lock:
            if self._over:
                raise NotFound("the request is not running any more")
            if self._worker is None:
                if len(self._early) >= MAX_EARLY_MESSAGES:
                    raise Overloaded("the request has not started yet: wait for its first output")
                self._early.append(message)
            elif not self._client.publish(worker_channel(self._worker), message):
                raise NotFound("the worker of the request is gone")

    @property
    def worker(self) -> str | None:
        """The worker that runs the call; None: none does yet."""
        return self._worker

    def cancel(self) -> None:
        """Cancel the call: `wait` ends with InvalidRequest, and the worker stops."""
        self._inbox.put([CANCEL])

    def _handle_message(self, payload: bytes) -> None:
        self._inbox.put(orjson.loads(payload))

    def _next(self, until_s: float) -> list[Any]:
        """Return the next message of the worker, or of `cancel`. Errors: Unavailable, CallLost."""
        patience_s = START_SECONDS if self._worker is None else SILENCE_SECONDS
        left_s = until_s - time.monotonic()
        try:
            return self._inbox.get(timeout=max(0.0, min(left_s, patience_s)))
        except Empty:
            pass
        if self._worker is None:
            raise Unavailable("no worker is free: try again")
        reason = "the worker was lost" if patience_s < left_s else f"{self._kind} was not finished in time"
        raise CallLost(f"{reason}; the request may have taken effect: check before you try again")

    def _set_worker(self, worker: str) -> None:
        with self._lock:
            self._worker = worker
            for message in self._early:
                self._client.publish(worker_channel(worker), message)
            self._early.clear()

    def _fetch(self) -> Any:
        data = self._client.getdel(call_channel(self.id))
        if not isinstance(data, bytes):
            raise CallLost("Redis lost the result; the request may have taken effect: check before you try again")
        return orjson.loads(data)

    def _send_quietly(self, what: str) -> None:
        """Send without errors: a worker that misses the message notices that nobody subscribes to the call."""
        try:
            self.send(what)
        except (NotFound, Overloaded, redis.RedisError):
            pass

    def _end(self) -> None:
        with self._lock:
            self._over = True
        self._subscriptions.unsubscribe(call_channel(self.id), self._handle_message)


class WorkerReply:
    """The worker's side of one call: what it publishes to the caller. All methods raise redis.RedisError."""

    def __init__(self, client: redis.Redis, call_id: str) -> None:
        self._client = client
        self._channel = call_channel(call_id)

    def begin(self, worker: str) -> bool:
        """Publish which worker runs the call; return whether anybody subscribes to it."""
        return self._publish("begun", worker)

    def alive(self) -> bool:
        """Publish a heartbeat; return whether anybody subscribes to the call."""
        return self._publish("alive")

    def output(self, value: object) -> bool:
        """Publish a piece of output, JSON; return whether anybody subscribes to the call."""
        return self._publish("output", value)

    def result(self, value: object) -> None:
        """Publish the result, JSON, or store a large one for the caller to fetch. Errors: InvalidRequest: too large."""
        if len(message := orjson.dumps(["result", value])) <= MAX_PUBLISHED_BYTES:
            self._client.publish(self._channel, message)
            return
        if len(data := orjson.dumps(value)) > MAX_RESULT_BYTES:
            raise InvalidRequest(f"the result has more than {MAX_RESULT_BYTES} bytes")
        self._client.set(self._channel, data, ex=RESULT_TTL_SECONDS)
        self._publish("stored")

    def error(self, error: Exception) -> None:
        """Publish an error: one of ERRORS with its message, any other as "internal error"."""
        name = type(error).__name__
        self._publish("error", name, str(error) if name in ERRORS else "internal error")

    def _publish(self, *message: object) -> bool:
        return bool(self._client.publish(self._channel, orjson.dumps(message)))


def send_to(client: redis.Redis, worker: str, call_id: str, what: str, value: object) -> bool:
    """Send a message to the call of another API process. Return whether its worker is there."""
    return bool(client.publish(worker_channel(worker), orjson.dumps([call_id, what, value])))


def parse(payload: bytes) -> tuple[str, str, Any]:
    """Return (call id, what, value) of a message from a worker's channel."""
    call_id, what, value = orjson.loads(payload)
    return call_id, what, value
