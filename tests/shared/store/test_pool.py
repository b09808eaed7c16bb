"""The pool of connections: whoever asks first is served first, and a database that works refuses nobody."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError, TimeoutError

from shared.store.pool import FairPool, Places
from tests.support.wait import until

# About 30 ms of work.
WORK = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150000) SELECT max(i) FROM n")


def open_engine(tmp_path: Path, size: int, stall_seconds: float, **options: object) -> Engine:
    url = f"sqlite:///{tmp_path}/pool.sqlite3"
    connect_args = {} if "creator" in options else {"connect_args": {"check_same_thread": False}}
    return create_engine(
        url,
        poolclass=FairPool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=stall_seconds,
        **connect_args,
        **options,
    )


def waiting(places: Places) -> int:
    return len(places._waiting)


def test_a_place_goes_to_whoever_has_waited_longest() -> None:
    places, served = Places(1), list[str]()
    assert places.enter(30)

    def enter(name: str) -> None:
        assert places.enter(30)
        served.append(name)
        places.leave()

    with ThreadPoolExecutor(3) as threads:
        for number, name in enumerate(("first", "second"), 1):
            threads.submit(enter, name)
            until(lambda number=number: waiting(places) == number)
        places.leave()
        enter("latecomer")

    assert served == ["first", "second", "latecomer"]


def test_who_goes_first_is_served_before_all_who_wait() -> None:
    places, served = Places(1), list[str]()
    assert places.enter(30)

    def enter(name: str, goes_first: bool) -> None:
        assert places.enter(30, goes_first=goes_first)
        served.append(name)
        places.leave()

    with ThreadPoolExecutor(3) as threads:
        for number, name in enumerate(("one", "another", "first"), 1):
            threads.submit(enter, name, name == "first")
            until(lambda number=number: waiting(places) == number)
        places.leave()

    assert served == ["first", "one", "another"]


def test_nobody_is_refused_while_connections_come_back(tmp_path: Path) -> None:
    stall_seconds, held_seconds, tasks = 2.0, 0.1, 30  # a busy machine may take ten times as long for the work
    engine = open_engine(tmp_path, 1, stall_seconds)

    def work() -> float:
        with engine.connect() as connection:
            until_at = time.monotonic() + held_seconds
            while time.monotonic() < until_at:
                connection.execute(WORK)
        return time.monotonic()

    began_at = time.monotonic()
    with ThreadPoolExecutor(tasks) as threads:
        ended_at = [task.result() for task in [threads.submit(work) for _ in range(tasks)]]

    assert max(ended_at) - began_at > stall_seconds, "the last one has waited for longer than any may without progress"
    engine.dispose()


def test_who_waits_is_refused_when_nothing_comes_back_and_the_pool_is_whole_afterwards(tmp_path: Path) -> None:
    engine = open_engine(tmp_path, 2, 0.05)
    held = [engine.connect() for _ in range(2)]

    for _ in range(3):
        with pytest.raises(TimeoutError, match="all 2 connections are in use"):
            engine.connect()
    for connection in held:
        connection.close()

    again = [engine.connect() for _ in range(2)]
    assert [connection.scalar(text("SELECT 1")) for connection in again] == [1, 1]
    for connection in again:
        connection.close()
    engine.dispose()


def test_the_pool_says_nothing_of_its_daily_work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "shared")
    engine = open_engine(tmp_path, 1, 0.05)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))

    engine.dispose()

    assert caplog.records == []


def test_nobody_waits_for_ever_for_a_database_that_is_merely_slow() -> None:
    places = Places(1)
    assert places.enter(30)
    over = threading.Event()

    def give_and_take() -> None:  # a place comes back again and again, to others
        while not over.is_set():
            places._left_at = time.monotonic()

    busy = threading.Thread(target=give_and_take)
    busy.start()
    try:
        assert not places.enter(30, most_seconds=0.1)
    finally:
        over.set()
        busy.join()
    assert waiting(places) == 0


@pytest.mark.parametrize("failure", [OperationalError("", {}, Exception()), sqlite3.OperationalError("no file")])
def test_connections_that_cannot_be_made_take_no_place(tmp_path: Path, failure: Exception) -> None:
    broken = [True]

    def connect() -> sqlite3.Connection:
        if broken[0]:
            raise failure
        return sqlite3.connect(tmp_path / "pool.sqlite3", check_same_thread=False)

    engine = open_engine(tmp_path, 1, 0.05, creator=connect)
    for _ in range(3):
        with pytest.raises(OperationalError):
            engine.connect()
    broken[0] = False

    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_a_place_that_is_given_to_one_who_has_left_goes_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    places, wait = Places(1), threading.Event.wait
    assert places.enter(30)

    def interrupted(event: threading.Event, timeout: float | None = None) -> bool:
        places.leave()  # the place is given just before the one that waits for it is ended
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Event, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        places.enter(30)
    monkeypatch.setattr(threading.Event, "wait", wait)

    assert places.enter(0.05)
    assert not places.enter(0.05)
