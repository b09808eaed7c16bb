"""The listener over a real Redis that goes away and comes back: what was missed is read from the log."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.app import make_services
from api.cli import embedded_redis
from shared import announcements
from shared.config import embedded_redis_url
from shared.store.threads import Thread
from tests.builders import Client, House, SilentQueue, claim_turn, delta, end_turn, make_house, make_thread, make_turn
from tests.support.wait import until


class Redis:
    """A server of our own, with the configuration of an embedded one."""

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


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    redis = Redis(tmp_path)
    yield redis
    redis.stop()


@pytest.fixture
def house(tmp_path: Path, empty_database: Path, redis: Redis) -> Iterator[House]:
    house = make_house(tmp_path, empty_database, redis_url=redis.url)
    queue: Any = SilentQueue()
    house.services = replace(make_services(house.config), queue=queue)
    yield house
    house.close()


def follow(house: House, thread: Thread) -> Client:
    client = house.connect()
    client.call("thread/resume", {"threadId": thread.id})
    return client


def kill_listener(house: House) -> None:
    """Cut the listener's connection, and no other."""
    assert house.services.redis.client_kill_filter(_type="pubsub") == 1


def test_what_a_cut_listener_missed_is_read_from_the_log(house: House) -> None:
    thread = make_thread(house.store, house.config)
    client = follow(house, thread)

    expected = ""
    for cut in range(3):
        kill_listener(house)
        for number in range(3):
            house.publish(thread, delta(thread.id, "a", f"{cut}.{number} "))
            expected += f"{cut}.{number} "
        client.wait_for_delta(f"{cut}.2 ")

    assert client.text("a") == expected


def test_an_end_that_redis_forgot_is_told_when_it_is_back(house: House, redis: Redis) -> None:
    thread = make_thread(house.store, house.config)
    make_turn(house.store, thread)
    client = follow(house, thread)
    claim = claim_turn(house.store)
    house.publish(thread, *announcements.turn_started(claim.turn))
    client.wait_for_method("turn/started")

    redis.stop()
    end_turn(house.store, claim)
    redis.start()
    house.services.redis.flushall()

    client.wait_for_method("turn/completed")
    assert client.methods().count("turn/started") == 1


def test_requests_during_an_outage_are_told_to_come_back(house: House, redis: Redis) -> None:
    thread = make_thread(house.store, house.config)
    client = house.connect()
    redis.stop()

    error = client.error("thread/resume", {"threadId": thread.id})
    read = client.call("thread/read", {"threadId": thread.id})

    assert error["code"] == -32001
    assert read["thread"]["id"] == thread.id
    redis.start()
    until(lambda: "result" in client.reply("thread/resume", {"threadId": thread.id}))
    house.publish(thread, delta(thread.id, "a", "x"))
    client.wait_for_delta("x")
