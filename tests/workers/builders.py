"""A worker process without a process: real store, journal, loop, tools and model client, a Redis in memory."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fakeredis
import orjson
import redis
from celery import Celery
from sqlalchemy import select, update

from shared import announcements
from shared.config import Provider
from shared.events import NO_EVENT, Entry, decode_announcement, thread_channel
from shared.store.items import Item
from shared.store.tables import approvals, turns
from shared.store.threads import Thread
from shared.store.turns import NewTurn, Turn
from shared.store.users import LOCAL_USER
from tests.builders import make_config, make_thread, text_input
from tests.support.model_server import ModelServer
from tests.support.wait import until
from workers.agent import sweep
from workers.services import Services
from workers.tasks import run_turn

PROVIDER = "mock"
DEADLINE_SECONDS = 20

ENDED = select(turns.c.id, turns.c.thread_id).where(turns.c.phase == "done")
ASKED = select(approvals.c.id, approvals.c.thread_id).where(approvals.c.state == "pending")

Events = list[tuple[str, dict[str, Any]]]


@dataclass
class Bench:
    """One database, one Redis, one model, and as many workers as a test needs. cwd: where its threads work."""

    home: Path
    cwd: Path
    model: ModelServer
    settings: dict[str, Any]
    redis_server: fakeredis.FakeServer = field(default_factory=fakeredis.FakeServer)
    workers: list[Services] = field(default_factory=list)

    def worker(self, connect: Callable[..., redis.Redis] | None = None) -> Services:
        """One more worker, its journal and mailbox running; nothing is swept. connect: its way to Redis."""
        provider = Provider("mock", self.model.base_url, request_max_retries=0, stream_max_retries=2)
        config = make_config(self.home, model_providers={PROVIDER: provider}, **self.settings)
        services = Services(config, Celery("test", broker="memory://"), connect or self.connect)
        services.start()
        self.workers.append(services)
        return services

    def connect(self, _url: str = "", **_: Any) -> fakeredis.FakeRedis:
        return fakeredis.FakeRedis(server=self.redis_server)

    def thread(self, owner: str = LOCAL_USER, **settings: Any) -> Thread:
        """A thread of the mock model in cwd, with these settings."""
        return make_thread(
            self.workers[0].store,
            self.workers[0].config,
            owner,
            settings={
                "model": "mock-model",
                "modelProvider": PROVIDER,
                "cwd": str(self.cwd),
                "approvalPolicy": "never",
                "approvalsReviewer": "user",
                "sandboxPolicy": {"type": "workspaceWrite"},
                **settings,
            },
        )

    def begin(self, thread: Thread, text: str, **new: Any) -> Turn:
        """turn/start: a queued turn, or input for the one that is active."""
        values = {"client_id": None, "settings": {}, "options": {}, **new}
        asked = NewTurn(text_input(text), **values)
        store = self.workers[0].store
        return store.turns.create_or_steer(thread.id, thread.owner, asked, queued_limit=0)[0]

    def run(self, services: Services | None = None) -> None:
        """Run what waits, in a worker, until all ends and questions are in the logs."""
        self.start_run(services).join()
        self.settle()

    def start_run(self, services: Services | None = None) -> Running:
        services = services or self.workers[0]
        return start(lambda: run_turn.run(services))

    def settle(self) -> None:
        """Wait until the logs have the ends and questions that the store has."""
        with self.workers[0].store.database.read() as connection:
            ended = [(row.thread_id, f"turn:{row.id}:completed") for row in connection.execute(ENDED)]
            asked = [(row.thread_id, f"request:{row.id}") for row in connection.execute(ASKED)]
        for thread_id, key in [*ended, *asked]:
            until(lambda: key in [entry.key for entry in self.workers[0].log.read(thread_id, NO_EVENT, 100_000)])  # noqa: B023

    def say(self, thread: Thread, text: str, **new: Any) -> Turn:
        """A whole turn; as it ended."""
        turn = self.begin(thread, text, **new)
        self.run()
        return self.turn(turn)

    def turn(self, turn: Turn) -> Turn:
        return self.workers[0].store.turns.get(turn.id, turn.owner)

    def items(self, thread: Thread) -> list[Item]:
        return self.workers[0].store.items.history(thread.id)

    def shown(self, thread: Thread) -> list[dict[str, Any]]:
        """The completed items that a client reads."""
        return [item.wire() for item in self.items(thread) if item.item is not None and item.completed_at_ms]

    def events(self, thread: Thread) -> Events:
        """The thread's log, oldest first."""
        return read_entries(self.workers[0].log.read(thread.id, NO_EVENT, 1_000_000))

    def follow(self, thread: Thread) -> Follower:
        return Follower(self.connect(), thread.id)

    def lose(self, turn: Turn, recoverer: Services) -> None:
        """The worker that holds the turn counts as lost: its lease is over, and another worker's sweep saw that."""
        for journal in [services.journal for services in self.workers if services is not recoverer]:
            held = journal._held.get(turn.id)  # so much time has passed for them, too
            if held is not None:
                held.renewed_at = float("-inf")
        with recoverer.store.database.write() as connection:
            connection.execute(update(turns).where(turns.c.id == turn.id).values(lease_until_ms=0))
        sweep.recover(recoverer)

    def sweep(self) -> None:
        """What a sweep publishes, without the time that it gives to whoever is at it."""
        store, log = self.workers[0].store, self.workers[0].log
        with store.database.read() as connection:
            found = connection.execute(select(turns.c.id, turns.c.owner).order_by(turns.c.id)).all()
        for row in found:
            turn = store.turns.get(row.id, row.owner)
            if turn.phase in ("done", "parked"):
                announcements.announce(store, log, turn)

    def close(self) -> None:
        for services in self.workers:
            services.journal.stop(5)
            services.store.close()


class Unreliable(fakeredis.FakeRedis):
    """A Redis that can be out of reach of this client alone."""

    away = False

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if self.away:
            raise redis.ConnectionError("out of reach")
        return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        if self.away:
            raise redis.ConnectionError("out of reach")
        return super().pipeline(transaction, shard_hint)


class Running:
    """A call in a thread of its own."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._error: BaseException | None = None
        self._call = call
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 - raised again where it is joined
            self._error = error

    def join(self) -> None:
        self.thread.join(DEADLINE_SECONDS)
        assert not self.thread.is_alive(), f"not within {DEADLINE_SECONDS} s"
        if self._error is not None:
            raise self._error


def start(call: Callable[[], object]) -> Running:
    return Running(call)


class Follower:
    """Hears a thread's channel from now on, as an API process does."""

    def __init__(self, client: fakeredis.FakeRedis, thread_id: str) -> None:
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._pubsub.subscribe(thread_channel(thread_id))
        self._pubsub.get_message(timeout=1)  # that it is subscribed
        self.events: Events = []

    def hear(self) -> Events:
        """All so far."""
        while (message := self._pubsub.get_message(timeout=0.001)) is not None:
            self.events += read_entries(decode_announcement(message["data"]))
        return self.events

    def wait_for(self, method: str, count: int = 1) -> Events:
        until(lambda: sum(name == method for name, _ in self.hear()) >= count)
        return self.events


class Freeze:
    """Holds a thread at a named point, until it is released: call_at(point, freeze)."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._released = threading.Event()
        self._once = threading.Lock()

    def __call__(self) -> None:
        if self._once.acquire(blocking=False):
            self.reached.set()
            self._released.wait(DEADLINE_SECONDS)

    def release(self) -> None:
        self._released.set()


def read_entries(entries: list[Entry]) -> Events:
    """(method, params) of each; a server request's params carry its id as "requestId"."""
    found = []
    for entry in entries:
        frame = orjson.loads(entry.head + b"}")
        params = {**frame["params"], "requestId": frame["id"]} if "id" in frame else frame["params"]
        found.append((frame["method"], params))
    return found


def make_bench(tmp_path: Path, template: Path, model: ModelServer, **settings: Any) -> Bench:
    home, cwd = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    cwd.mkdir()
    shutil.copy(template, home / "threadhouse.sqlite3")
    bench = Bench(home, cwd, model, settings)
    bench.worker()
    return bench
