"""The relay over a real Redis that goes away and comes back: missed events are read from the log."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.app import make_services
from api.cli import embedded_redis
from shared.config import embedded_redis_url
from shared.events import durable_events
from shared.store.threads import Thread
from tests.builders import (
    Backend,
    Client,
    SilentQueue,
    claim_turn,
    delta,
    end_turn,
    make_backend,
    make_thread,
    make_turn,
)
from tests.support.wait import until


class Redis:
    """A Redis server with the configuration of an embedded one."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.url = embedded_redis_url(home)
        self.start()

    def start(self) -> None:
        command = embedded_redis.command(self._home)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: embedded_redis.answers(self._home))

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def lose_data(self) -> None:
        """Remove its files. It must not run: it would be asked before it has lost them."""
        shutil.rmtree(self._home / "redis")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    redis = Redis(tmp_path)
    yield redis
    redis.stop()


@pytest.fixture
def backend(tmp_path: Path, empty_database: Path, redis: Redis) -> Iterator[Backend]:
    backend = make_backend(tmp_path, empty_database, redis_url=redis.url)
    queue: Any = SilentQueue()
    backend.services = replace(make_services(backend.config), queue=queue)
    yield backend
    backend.close()


def follow(backend: Backend, thread: Thread) -> Client:
    client = backend.connect()
    client.call("thread/resume", {"threadId": thread.id})
    return client


def kill_listener(backend: Backend) -> None:
    """Cut the listener's connection, and no other connection."""
    assert backend.services.redis.client_kill_filter(_type="pubsub") == 1


def test_events_missed_by_a_cut_listener_are_read_from_the_log(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    client = follow(backend, thread)

    expected = ""
    for cut in range(3):
        kill_listener(backend)
        for number in range(3):
            backend.publish(thread, delta(thread.id, "a", f"{cut}.{number} "))
            expected += f"{cut}.{number} "
        client.wait_for_delta(f"{cut}.2 ")

    assert client.text("a") == expected


def test_the_end_of_a_turn_that_redis_lost_is_republished(backend: Backend, redis: Redis) -> None:
    thread = make_thread(backend.store, backend.config)
    make_turn(backend.store, thread)
    client = follow(backend, thread)
    claim = claim_turn(backend.store)
    backend.publish(thread, *durable_events.turn_started(claim.turn))
    client.wait_for_method("turn/started")

    redis.stop()
    end_turn(backend.store, claim)
    redis.lose_data()
    redis.start()

    client.wait_for_method("turn/completed")
    assert client.methods().count("turn/started") == 1


def test_requests_during_an_outage_are_refused_as_retryable(backend: Backend, redis: Redis) -> None:
    thread = make_thread(backend.store, backend.config)
    client = backend.connect()
    redis.stop()

    error = client.error("thread/resume", {"threadId": thread.id})
    read = client.call("thread/read", {"threadId": thread.id})

    assert error["code"] == -32001
    assert read["thread"]["id"] == thread.id
    redis.start()
    until(lambda: "result" in client.reply("thread/resume", {"threadId": thread.id}))
    backend.publish(thread, delta(thread.id, "a", "x"))
    client.wait_for_delta("x")
