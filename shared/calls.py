"""Calls: requests that need a workspace. The API asks, a worker answers, and both ways go through Redis.

A call goes out by the queue. What comes back goes over a channel of that call: where it runs, output, signs of life,
the result. What else the worker has to hear (input, cancel) goes over a channel of that worker process. Nothing of it
is kept: a call whose worker is lost ends with an error, one that nobody waits for any more is cancelled by its worker.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Generator
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
from shared.ids import new_id
from shared.queue import Queue

logger = logging.getLogger(__name__)

START_SECONDS = 10.0  # that a call waits for a worker to take it
ALIVE_SECONDS = 2.0  # between a worker's signs of life
SILENCE_SECONDS = 10.0  # without any of them the worker is lost
MAX_RESULT_BYTES = 16 * 1024 * 1024
MAX_ANNOUNCED_BYTES = 256 * 1024  # of a result on the channel; Redis drops listeners to which too much is on its way
RESULT_TTL_SECONDS = 60  # of a larger one, which is fetched
OUTPUT_WINDOW = 32  # messages that a worker sends before it hears that some were taken
TAKEN_EVERY = 8  # messages
MAX_EARLY_MESSAGES = 64  # for a worker that is not known yet

CANCEL, TAKEN = "cancel", "taken"

# What a worker may answer with instead of a result; anything else is a fault of the server.
ERRORS = {
    one.__name__: one
    for one in (InvalidRequest, NotFound, Conflict, InvalidParams, UnknownMethod, Overloaded, Unavailable, CallLost)
}


def call_channel(call_id: str) -> str:
    return f"call:{call_id}"


def worker_channel(worker: str) -> str:
    return f"worker:{worker}"


class Subscriptions(Protocol):
    """Redis channels, heard over one connection of this process."""

    def subscribe(self, channel: str, hear: Callable[[bytes], None]) -> None:
        """Returns when it is subscribed. hear must return at once. Errors: Unavailable."""

    def unsubscribe(self, channel: str, hear: Callable[[bytes], None]) -> None: ...


class Call:
    """One call, as its caller sees it. `start`, then `wait`; the rest from any thread meanwhile."""

    def __init__(
        self, client: redis.Redis, bells: Queue, subscriptions: Subscriptions, kind: str, params: Any, owner: str
    ) -> None:
        """kind, params: as workers/tasks/run_call.py knows them; params is JSON."""
        self.id = new_id()
        self._client = client
        self._bells = bells
        self._subscriptions = subscriptions
        self._kind = kind
        self.params = params
        self._owner = owner
        self._lock = threading.Lock()
        self._inbox: queue.Queue[list[Any]] = queue.Queue()
        self._worker: str | None = None
        self._early: list[bytes] = []
        self._over = False

    def start(self) -> None:
        """Send it out; nothing that comes back is lost from here on. Errors: Unavailable."""
        self._subscriptions.subscribe(call_channel(self.id), self._hear)
        try:
            self._bells.run_call(self.id, self._kind, self.params, self._owner, expires_s=START_SECONDS)
        except BaseException:
            self._end()
            raise

    def wait(self, deadline_s: float | None, on_output: Callable[[Any], None] | None = None) -> Any:
        """The result.

        on_output:  called with each piece of output, in order, before this returns; while it does not, at most
                    OUTPUT_WINDOW more are on their way
        Otherwise:  as `outputs`
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
        """Piece by piece what comes back; the generator's value is the result. Who closes it early cancels the call.

        deadline_s: from now; None: as long as its worker lives
        Errors:     what the worker answered; Unavailable: no worker took it, so nothing was done; CallLost: its worker
                    is gone, or it was not done in time
        """
        until_s = time.monotonic() + (float("inf") if deadline_s is None else deadline_s)
        outputs = 0
        try:
            while True:
                what, *values = self._next(until_s)
                if what == "begun":
                    self._begun(values[0])
                elif what == "output":
                    yield values[0]
                    outputs += 1
                    if outputs % TAKEN_EVERY == 0:
                        self.tell(TAKEN, outputs)
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
                self._tell_quietly(CANCEL)
            raise
        finally:
            self._end()

    def tell(self, what: str, value: Any = None) -> None:
        """Something for the worker that runs it; kept until one does. Errors: NotFound: none does any more."""
        message = orjson.dumps([self.id, what, value])
        with self._lock:
            if self._over:
                raise NotFound("it is not running any more")
            if self._worker is None:
                if len(self._early) >= MAX_EARLY_MESSAGES:
                    raise Overloaded("it has not begun yet; wait for its first output")
                self._early.append(message)
            elif not self._client.publish(worker_channel(self._worker), message):
                raise NotFound("its worker is gone")

    def cancel(self) -> None:
        """Nobody wants the result any more: `wait` ends with InvalidRequest, and the worker stops."""
        self._inbox.put([CANCEL])

    def _hear(self, payload: bytes) -> None:
        self._inbox.put(orjson.loads(payload))

    def _next(self, until_s: float) -> list[Any]:
        """Errors: Unavailable, CallLost"""
        patience_s = START_SECONDS if self._worker is None else SILENCE_SECONDS
        left_s = until_s - time.monotonic()
        try:
            return self._inbox.get(timeout=max(0.0, min(left_s, patience_s)))
        except queue.Empty:
            pass
        if self._worker is None:
            raise Unavailable("no worker is free; try again")
        why = "the worker was lost" if patience_s < left_s else f"{self._kind} was not done in time"
        raise CallLost(f"{why}; perhaps it was carried out: look before you try again")

    def _begun(self, worker: str) -> None:
        with self._lock:
            self._worker = worker
            for message in self._early:
                self._client.publish(worker_channel(worker), message)
            self._early.clear()

    def _fetch(self) -> Any:
        data = self._client.getdel(call_channel(self.id))
        if not isinstance(data, bytes):
            raise CallLost("Redis lost the result; perhaps the request was carried out: look before you try again")
        return orjson.loads(data)

    def _tell_quietly(self, what: str) -> None:
        """A worker that does not hear this sees that nobody listens."""
        try:
            self.tell(what)
        except (NotFound, Overloaded, redis.RedisError):
            pass

    def _end(self) -> None:
        with self._lock:
            self._over = True
        self._subscriptions.unsubscribe(call_channel(self.id), self._hear)


class Answer:
    """A worker's end of one call: what goes back to the caller. Errors of all: redis.RedisError."""

    def __init__(self, client: redis.Redis, call_id: str) -> None:
        self._client = client
        self._channel = call_channel(call_id)

    def begin(self, worker: str) -> bool:
        """It runs here now; whether anybody listens."""
        return self._say("begun", worker)

    def alive(self) -> bool:
        """A sign of life; whether anybody listens."""
        return self._say("alive")

    def output(self, value: Any) -> bool:
        """A piece of output, JSON; whether anybody listens."""
        return self._say("output", value)

    def result(self, value: Any) -> None:
        """Errors: InvalidRequest, when it is too large."""
        if len(message := orjson.dumps(["result", value])) <= MAX_ANNOUNCED_BYTES:
            self._client.publish(self._channel, message)
            return
        if len(data := orjson.dumps(value)) > MAX_RESULT_BYTES:
            raise InvalidRequest(f"the result has more than {MAX_RESULT_BYTES} bytes")
        self._client.set(self._channel, data, ex=RESULT_TTL_SECONDS)
        self._say("stored")

    def error(self, error: Exception) -> None:
        """One of ERRORS; of any other only that it happened."""
        name = type(error).__name__
        self._say("error", name, str(error) if name in ERRORS else "internal error")

    def _say(self, *message: Any) -> bool:
        return bool(self._client.publish(self._channel, orjson.dumps(message)))


def parse(payload: bytes) -> tuple[str, str, Any]:
    """What came over a worker's channel: (call id, what, value)."""
    call_id, what, value = orjson.loads(payload)
    return call_id, what, value
