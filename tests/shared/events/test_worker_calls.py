"""Worker calls: answers, output with its window, messages to the worker, and the errors of each way to fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import fakeredis
import orjson
import pytest

from shared.errors import CallLost, Conflict, InvalidRequest, NotFound, Overloaded, Unavailable
from shared.event_names import call_channel, worker_channel
from shared.events import worker_calls
from shared.events.worker_calls import CANCEL, CONSUMED, CONSUMED_EVERY, WorkerCall, WorkerReply

WORKER = "worker-1"


class Subscriptions:
    """Delivers what is published to a call's channel, at once and in this thread."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[[bytes], None]] = {}

    def subscribe(self, channel: str, handle_message: Callable[[bytes], None]) -> None:
        self.handlers[channel] = handle_message

    def unsubscribe(self, channel: str, handle_message: Callable[[bytes], None]) -> None:
        del self.handlers[channel]


class Published(fakeredis.FakeRedis):
    """A Redis whose publish reaches the subscriptions first, as the relay's listener would."""

    subscriptions: Subscriptions

    def publish(self, channel: str, message: bytes, **_: Any) -> int:  # type: ignore[override]
        if handler := self.subscriptions.handlers.get(channel):
            handler(message)
            return 1
        return int(super().publish(channel, message))  # type: ignore[arg-type]


class Enqueued:
    """A queue that remembers the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.is_away = False

    def enqueue_call(self, *call: Any, expires_s: float) -> None:
        if self.is_away:
            raise Unavailable("the queue in Redis does not answer: try again")
        self.calls.append(call)


class Bench:
    """One call that has been started, and the worker's side of it."""

    def __init__(self, server: fakeredis.FakeServer) -> None:
        self.redis = Published(server=server)
        self.subscriptions = self.redis.subscriptions = Subscriptions()
        self.queue = Enqueued()
        self.call = WorkerCall(self.redis, self.queue, self.subscriptions, "fs/readFile", {"path": "/x"}, "ann")  # type: ignore[arg-type]
        self.reply = WorkerReply(self.redis, self.call.id)
        self._worker = fakeredis.FakeRedis(server=server).pubsub(ignore_subscribe_messages=True)
        self._worker.subscribe(worker_channel(WORKER))
        self._worker.get_message(timeout=5)

    def sent(self) -> list[tuple[str, Any]]:
        """Messages that the worker has got and not read yet: (what, value)."""
        found = []
        while message := self._worker.get_message(timeout=0.05):
            call_id, what, value = worker_calls.parse(message["data"])
            assert call_id == self.call.id
            found.append((what, value))
        return found


@pytest.fixture
def bench(server: fakeredis.FakeServer) -> Bench:
    bench = Bench(server)
    bench.call.start()
    return bench


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_calls, "START_SECONDS", 0.05)
    monkeypatch.setattr(worker_calls, "SILENCE_SECONDS", 0.05)


def test_a_call_is_enqueued_with_its_params_and_owner(bench: Bench) -> None:
    assert bench.queue.calls == [(bench.call.id, "fs/readFile", {"path": "/x"}, "ann")]


def test_a_call_that_cannot_be_enqueued_unsubscribes(server: fakeredis.FakeServer) -> None:
    bench = Bench(server)
    bench.queue.is_away = True

    with pytest.raises(Unavailable):
        bench.call.start()

    assert bench.subscriptions.handlers == {}


def test_the_result_is_returned_after_the_output(bench: Bench) -> None:
    output: list[Any] = []
    assert bench.reply.begin(WORKER)
    assert bench.reply.alive()
    assert bench.reply.output({"part": 1})
    bench.reply.result({"done": True})

    assert bench.call.wait(5, output.append) == {"done": True}

    assert output == [{"part": 1}]
    assert not bench.reply.alive()


def test_a_large_result_is_fetched_and_not_published(bench: Bench) -> None:
    result = "x" * worker_calls.MAX_PUBLISHED_BYTES
    bench.reply.begin(WORKER)
    bench.reply.result(result)
    assert bench.redis.get(call_channel(bench.call.id)) == orjson.dumps(result)

    assert bench.call.wait(5) == result

    assert bench.redis.keys("*") == []


def test_a_result_that_is_too_large_is_refused(bench: Bench) -> None:
    with pytest.raises(InvalidRequest, match="more than 16777216 bytes"):
        bench.reply.result("x" * worker_calls.MAX_RESULT_BYTES)


def test_a_large_result_that_redis_lost_is_a_lost_call(bench: Bench) -> None:
    bench.reply.begin(WORKER)
    bench.reply.result("x" * worker_calls.MAX_PUBLISHED_BYTES)
    bench.redis.flushall()

    with pytest.raises(CallLost, match="Redis lost the result"):
        bench.call.wait(5)


def test_the_worker_learns_how_much_output_was_consumed(bench: Bench) -> None:
    bench.reply.begin(WORKER)
    for number in range(2 * CONSUMED_EVERY + 1):
        bench.reply.output(number)
    bench.reply.result(None)

    bench.call.wait(5)

    assert bench.sent() == [(CONSUMED, CONSUMED_EVERY), (CONSUMED, 2 * CONSUMED_EVERY)]


def test_an_error_of_the_worker_keeps_its_class_and_others_become_internal(bench: Bench) -> None:
    bench.reply.error(Conflict("the file is open"))

    with pytest.raises(Conflict, match="the file is open"):
        bench.call.wait(5)


def test_an_unexpected_error_of_the_worker_hides_its_message(bench: Bench) -> None:
    bench.reply.error(OSError("/secret/path"))

    with pytest.raises(RuntimeError, match="internal error"):
        bench.call.wait(5)


def test_messages_wait_until_a_worker_begins(bench: Bench) -> None:
    bench.call.send("write", "a")
    assert bench.sent() == []
    bench.reply.begin(WORKER)
    bench.reply.output(None)

    next(bench.call.outputs(5))

    assert bench.sent() == [("write", "a"), (CANCEL, None)]  # the output was not read to its end


def test_too_many_messages_before_the_worker_begins_are_refused(bench: Bench) -> None:
    for _ in range(worker_calls.MAX_EARLY_MESSAGES):
        bench.call.send("write", "a")

    with pytest.raises(Overloaded):
        bench.call.send("write", "a")


def test_a_message_after_the_end_is_refused(bench: Bench) -> None:
    bench.reply.begin(WORKER)
    bench.reply.result(None)
    bench.call.wait(5)

    with pytest.raises(NotFound, match="not running any more"):
        bench.call.send("write", "a")


def test_cancel_ends_the_call_and_stops_the_worker(bench: Bench) -> None:
    bench.reply.begin(WORKER)
    bench.call.cancel()

    with pytest.raises(InvalidRequest, match="cancelled"):
        bench.call.wait(5)

    assert bench.sent() == [(CANCEL, None)]
    assert bench.subscriptions.handlers == {}


@pytest.mark.usefixtures("impatient")
def test_a_call_that_no_worker_begins_is_unavailable(bench: Bench) -> None:
    with pytest.raises(Unavailable, match="no worker is free"):
        bench.call.wait(5)


@pytest.mark.usefixtures("impatient")
def test_a_call_whose_worker_is_silent_is_lost(bench: Bench) -> None:
    bench.reply.begin(WORKER)

    with pytest.raises(CallLost, match="the worker was lost"):
        bench.call.wait(5)


def test_a_call_that_misses_its_deadline_is_lost(bench: Bench) -> None:
    bench.reply.begin(WORKER)
    began_at = time.monotonic()

    with pytest.raises(CallLost, match="fs/readFile was not finished in time"):
        bench.call.wait(0.05)

    assert time.monotonic() - began_at < 5
