"""A full queue takes no task, and an outage is hidden only where the sweep repeats the task."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fakeredis
import pytest
import redis
from kombu.exceptions import OperationalError

from shared import queue
from shared.errors import Unavailable
from shared.queue import CALLS_BYTES, CHECK_EVERY, WAKE_UPS_BYTES, Queue, make_celery

SENT = {"argsrepr": "", "kwargsrepr": "", "retry": False, "declare": ()}  # options of every task


class Celery:
    """A Celery application without a broker. sent: (name, arguments, options) of each task."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[tuple[str, tuple[object, ...], dict[str, object]]] = []
        self._error = error

    def send_task(self, name: str, args: tuple[object, ...], **options: object) -> None:
        if self._error is not None:
            raise self._error
        self.sent.append((name, args, options))


class Sizes:
    """A Redis in which each queue has a size in bytes. looks: the number of sizes read."""

    def __init__(self, **sizes: int) -> None:
        self.sizes = sizes
        self.looks = 0

    def memory_usage(self, queue: str, samples: int) -> int | None:
        assert samples == 0, "an estimate from the newest tasks does not hold for the others"
        self.looks += 1
        return self.sizes.get(queue)


class AwayRedis:
    def memory_usage(self, queue: str, samples: int) -> int | None:
        raise redis.ConnectionError("no connection")


@contextmanager
def redis_server() -> Iterator[int]:
    server = fakeredis.TcpFakeServer(("127.0.0.1", 0))
    server.daemon_threads, server.block_on_close = True, False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()


def make_queue(app: Celery, client: Any = None) -> Queue:
    celery: Any = app
    return Queue(celery, client or Sizes())


def test_a_unix_socket_becomes_a_url_that_celery_knows() -> None:
    assert make_celery("unix:///run/redis.sock").conf.broker_url == "redis+socket:///run/redis.sock"


@pytest.mark.timeout(120)
def test_a_lost_connection_sends_no_task_back() -> None:
    with redis_server() as port:
        app = make_celery(f"redis://127.0.0.1:{port}/0")
        app.send_task(queue.RUN_TURN, args=("T",))
        connection = app.connection_for_read()
        assert connection.default_channel.basic_get("turns") is not None

        connection.close()

        left = redis.Redis(port=port, decode_responses=True).keys("*")
        assert [key for key in left if "binding" not in key] == []


def test_a_wake_up_carries_an_id_and_is_not_retried() -> None:
    app = Celery()

    make_queue(app).enqueue_turn("T")

    assert app.sent == [(queue.RUN_TURN, ("T",), SENT)]


def test_a_call_carries_its_work_and_expires() -> None:
    app = Celery()

    make_queue(app).enqueue_call("C", "fs/readFile", {"path": "/x"}, "ann", expires_s=10)

    options = {"expires": 10, **SENT}
    assert app.sent == [(queue.RUN_CALL, ("C", "fs/readFile", {"path": "/x"}, "ann"), options)]


def test_without_redis_a_call_is_unavailable_and_a_delivery_is_left_to_the_sweep() -> None:
    enqueue = make_queue(Celery(OperationalError("no connection")), AwayRedis())

    with pytest.raises(Unavailable):
        enqueue.enqueue_call("C", "fs/readFile", {}, "ann", expires_s=10)
    with pytest.raises(OperationalError):
        enqueue.enqueue_turn("T")
    enqueue.enqueue_delivery()


def test_session_files_of_many_threads_are_few_tasks() -> None:
    app = Celery()

    make_queue(app).enqueue_session_files([f"T{number}" for number in range(45)])

    assert [(name, len(args)) for name, args, _ in app.sent] == [(queue.WRITE_SESSION, count) for count in (20, 20, 5)]
    assert [thread_id for _, args, _ in app.sent for thread_id in args] == [f"T{number}" for number in range(45)]


@pytest.mark.timeout(120)
def test_tasks_that_wait_are_counted_by_kind() -> None:
    with redis_server() as port:
        queue = Queue(make_celery(f"redis://127.0.0.1:{port}/0"), redis.Redis(port=port))
        assert queue.count_deliveries() == 0
        for _ in range(2):
            queue.enqueue_delivery()
        queue.enqueue_erasure()
        queue.enqueue_session_files(["T"])

        assert (queue.count_deliveries(), queue.count_erasures()) == (2, 1)


def test_a_queue_that_nobody_takes_from_stops_growing_and_goes_on_when_it_has_room() -> None:
    app, sizes = Celery(), Sizes(background=0)
    queue = make_queue(app, sizes)
    queue.enqueue_delivery()
    sizes.sizes["background"] = WAKE_UPS_BYTES

    for _ in range(10 * CHECK_EVERY):
        queue.enqueue_session_files(["T"])
    assert len(app.sent) == CHECK_EVERY
    queue.enqueue_turn("T")
    assert app.sent[-1][0] == "turn.run", "another queue has room"
    sizes.sizes["background"] = 0
    queue.enqueue_erasure()

    assert app.sent[-1][0] == "erasure.run"


def test_the_size_of_a_queue_of_wake_ups_is_asked_for_rarely() -> None:
    sizes = Sizes()
    queue = make_queue(Celery(), sizes)

    for _ in range(3 * CHECK_EVERY):
        queue.enqueue_turn("T")

    assert sizes.looks == 3


def test_calls_are_refused_when_their_queue_is_full() -> None:
    app, sizes = Celery(), Sizes(calls=CALLS_BYTES - 1)
    queue = make_queue(app, sizes)
    queue.enqueue_call("C", "fs/readFile", {}, "ann", expires_s=10)
    sizes.sizes["calls"] = CALLS_BYTES

    with pytest.raises(Unavailable, match="full"):
        queue.enqueue_call("C", "fs/readFile", {}, "ann", expires_s=10)

    assert len(app.sent) == 1
