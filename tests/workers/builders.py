"""Worker processes inside the test's process: real store, journal, loop, tools and model client, a Redis in memory."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fakeredis
import orjson
import redis
from celery import Celery
from sqlalchemy import select, update

from shared.config import Provider
from shared.event_names import thread_channel
from shared.events import durable_events
from shared.events.log import NO_EVENT, Entry, decode_entries
from shared.store.items import Item
from shared.store.tables import approvals, turns
from shared.store.threads import Thread
from shared.store.turns import NewTurn, Turn
from shared.store.users import LOCAL_USER
from tests.builders import log_rows, make_config, make_thread, text_input
from tests.support.model_server import ModelServer
from tests.support.wait import until
from workers import sweep
from workers.agent.running_turn import RunningTurn
from workers.agent.transcript import Transcript
from workers.control.signal import Signal
from workers.journal.turn_writer import TurnWriter
from workers.services import Services
from workers.tasks import run_turn

PROVIDER = "mock"
DEADLINE_SECONDS = 60

ENDED = select(turns.c.id, turns.c.thread_id).where(turns.c.phase == "done")
ASKED = select(approvals.c.id, approvals.c.thread_id).where(approvals.c.state == "pending")

Events = list[tuple[str, dict[str, Any]]]


@dataclass
class Bench:
    """One database, one Redis, one model server, and as many workers as a test needs.

    cwd:      the working directory of the threads
    wire_api: how the workers speak to the model
    provider_searches: whether the provider has the tool web_search
    """

    home: Path
    cwd: Path
    model: ModelServer
    settings: dict[str, Any]
    wire_api: str = "responses"
    provider_searches: bool = False
    redis_server: fakeredis.FakeServer = field(default_factory=fakeredis.FakeServer)
    workers: list[Services] = field(default_factory=list)

    def worker(self, connect: Callable[..., redis.Redis] | None = None) -> Services:
        """Start one more worker, without its sweep. connect: how it connects to Redis."""
        provider = Provider(
            "mock",
            self.model.base_url,
            wire_api=self.wire_api,
            web_search=self.provider_searches,
            request_max_retries=0,
            stream_max_retries=2,
        )
        config = make_config(self.home, model_providers={PROVIDER: provider}, **self.settings)
        services = Services(config, Celery("test", broker="memory://"), connect or self.connect)
        services.start()
        self.workers.append(services)
        return services

    def connect(self, _url: str = "", **_: Any) -> fakeredis.FakeRedis:
        return fakeredis.FakeRedis(server=self.redis_server)

    def thread(self, owner: str = LOCAL_USER, **settings: Any) -> Thread:
        """Store a thread of the mock model in cwd, with these settings."""
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
        """Queue a turn as turn/start does, or add input to the one that is active."""
        values = {"client_id": None, "settings": {}, "options": {}, **new}
        asked = NewTurn(text_input(text), **values)
        store = self.workers[0].store
        return store.turns.create_or_steer(thread.id, thread.owner, asked, queued_limit=0)[0]

    def run(self, services: Services | None = None) -> None:
        """Run the waiting turns in a worker, until all ends and requests are in the logs."""
        self.start_run(services).join()
        self.settle()

    def start_run(self, services: Services | None = None) -> Running:
        services = services or self.workers[0]
        return start(lambda: run_turn.run(services))

    def claim(self, services: Services | None = None) -> RunningTurn:
        """Claim the next waiting turn and return it before its first step, for tests of single steps."""
        services = services or self.workers[0]
        claimed_at = time.monotonic()
        (claim,) = services.store.claims.claim([services.name], lease_ms=30_000, turns_at_once=0)
        signal = Signal()
        writer = TurnWriter(claim, services.journal.acquire(claim, signal, claimed_at), services.journal)
        return RunningTurn(services.config, services.store, Transcript(writer, services.store), signal)

    def settle(self) -> None:
        """Wait until the logs have the ends and requests that the store has."""
        with self.workers[0].store.database.read() as connection:
            ended = [(row.thread_id, f"turn:{row.id}:completed") for row in connection.execute(ENDED)]
            asked = [(row.thread_id, f"request:{row.id}") for row in connection.execute(ASKED)]
        for thread_id, key in [*ended, *asked]:
            until(lambda: key in self.workers[0].log.keys_after(thread_id, NO_EVENT))  # noqa: B023

    def run_turn(self, thread: Thread, text: str, **new: Any) -> Turn:
        """Run a turn from its start to its end; return it as it ended."""
        turn = self.begin(thread, text, **new)
        self.run()
        return self.turn(turn)

    def turn(self, turn: Turn) -> Turn:
        return self.workers[0].store.turns.get(turn.id, turn.owner)

    def items(self, thread: Thread) -> list[Item]:
        return log_rows(self.workers[0].store, thread.id)

    def shown(self, thread: Thread) -> list[dict[str, Any]]:
        """Return the completed items as a client reads them."""
        return [item.wire() for item in self.items(thread) if item.item is not None and item.completed_at_ms]

    def events(self, thread: Thread) -> Events:
        """Return the events in the thread's log, oldest first."""
        entries: list[Entry] = []
        while page := self.workers[0].log.read(thread.id, entries[-1].id if entries else NO_EVENT):
            entries += page
        return read_entries(entries)

    def follow(self, thread: Thread) -> Follower:
        return Follower(self.connect(), thread.id)

    def lose(self, turn: Turn, recoverer: Services) -> None:
        """End the lease of the worker that runs the turn, and let another worker's sweep requeue it."""
        for journal in [services.journal for services in self.workers if services is not recoverer]:
            claimed = journal.leases.find(turn.id)  # the same time has passed for its own clock
            if claimed is not None:
                claimed.renewed_at = float("-inf")
        with recoverer.store.database.write() as connection:
            connection.execute(update(turns).where(turns.c.id == turn.id).values(lease_until_ms=0))
        sweep.recover(recoverer)

    def sweep(self) -> None:
        """Publish what a sweep publishes, without its grace period."""
        store, log = self.workers[0].store, self.workers[0].log
        with store.database.read() as connection:
            found = connection.execute(select(turns.c.id, turns.c.owner).order_by(turns.c.id)).all()
        for row in found:
            turn = store.turns.get(row.id, row.owner)
            if turn.phase in ("done", "parked"):
                durable_events.publish_missing(store, log, turn)

    def close(self) -> None:
        for services in self.workers:
            services.terminals.drain()
            services.close(5)


class Unreliable(fakeredis.FakeRedis):
    """A client that can lose its connection to Redis, while the others keep theirs."""

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
    """A function that runs in a thread of its own."""

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
    """A subscriber of a thread's channel from now on, like an API process."""

    def __init__(self, client: fakeredis.FakeRedis, thread_id: str) -> None:
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._pubsub.subscribe(thread_channel(thread_id))
        self._pubsub.get_message(timeout=1)  # the confirmation of the subscription
        self.events: Events = []

    def received(self) -> Events:
        """Return all events so far."""
        while (message := self._pubsub.get_message(timeout=0.001)) is not None:
            self.events += read_entries(decode_entries(message["data"]))
        return self.events

    def wait_for(self, method: str, count: int = 1) -> Events:
        until(lambda: sum(name == method for name, _ in self.received()) >= count)
        return self.events


class Freeze:
    """Stops the first thread that reaches a fault point until it is released: call_at(point, freeze)."""

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
    """Return (method, params) of each; params of a server request carry its id as "requestId"."""
    found = []
    for entry in entries:
        frame = orjson.loads(entry.head + b"}")
        params = {**frame["params"], "requestId": frame["id"]} if "id" in frame else frame["params"]
        found.append((frame["method"], params))
    return found


def make_bench(
    tmp_path: Path,
    template: Path,
    model: ModelServer,
    *,
    wire_api: str = "responses",
    provider_searches: bool = False,
    **settings: Any,
) -> Bench:
    home, cwd = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    cwd.mkdir()
    shutil.copy(template, home / "threadhouse.sqlite3")
    bench = Bench(home, cwd, model, settings, wire_api, provider_searches)
    bench.worker()
    return bench
