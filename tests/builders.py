"""Build objects that many tests need, with one call each."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fakeredis

from api.access.caller import Caller
from api.access.limits import RequestLimits
from api.delivery.close_codes import Closed
from api.delivery.connection import Connection
from api.delivery.frames import Frame
from api.delivery.relay import Relay
from api.requests.services import Services
from api.requests.settings import defaults
from api.transport import dispatch
from shared.clock import now_ms
from shared.config import Config, Server
from shared.config.feedback import redaction
from shared.events.log import Event, EventLog
from shared.ids import new_id
from shared.protocol.frames import decode
from shared.protocol.items import agent_message
from shared.protocol.notifications import AGENT_DELTA
from shared.store import Store
from shared.store import items as item_rows
from shared.store.items import Item
from shared.store.tables import items
from shared.store.threads import Thread
from shared.store.turns import Claim, NewTurn, PendingInput, Turn
from shared.store.turns import rows as turn_rows
from shared.store.users import LOCAL_USER, User
from shared.store.writes import End, Published, Write
from tests.support.contract import Recording

LEASE_MS = 30_000


def make_config(home: Path, **settings: Any) -> Config:
    """Return a configuration that needs no running service. server: keyword arguments of Server."""
    server = Server(workspaces_dir=home / "workspaces", **settings.pop("server", {}))
    values = {"redis_url": "redis://127.0.0.1:1/0", "database_url": f"sqlite:///{home}/threadhouse.sqlite3"}
    return Config(home=home, server=server, **{**values, **settings})


def make_thread(store: Store, config: Config, owner: str = LOCAL_USER, **values: Any) -> Thread:
    """Store a thread with the default settings, of the local user unless `owner` is given."""
    thread_id, at_ms = new_id(), now_ms()
    times = dict.fromkeys(("created_at_ms", "updated_at_ms", "recency_at_ms", "used_at_ms"), at_ms)
    thread = Thread(
        **{
            "id": thread_id,
            "owner": owner,
            "session_id": thread_id,
            "settings": defaults(config, owner, thread_id),
            "source": "vscode",
            **times,
            **values,
        }
    )
    store.threads.create(thread)
    return thread


def text_input(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text, "text_elements": []}]


def make_turn(store: Store, thread: Thread, text: str = "hello", client_id: str | None = None) -> Turn:
    """Store a queued turn with one unread message."""
    new = NewTurn(text_input(text), client_id, {}, {})
    return store.turns.create_or_steer(thread.id, thread.owner, new, queued_limit=0)[0]


def claim_turn(store: Store) -> Claim:
    """Claim the next turn, as a worker does first."""
    (claim,) = store.claims.claim(["test-worker"], lease_ms=LEASE_MS, turns_at_once=0)
    return claim


def log_rows(store: Store, thread_id: str) -> list[Item]:
    """Return a thread's whole log, in order."""
    with store.database.read() as connection:
        return item_rows.read(connection, items.c.thread_id == thread_id)


def unread_inputs(store: Store, turn_id: str) -> list[PendingInput]:
    """Return the input that a turn has not read, oldest first."""
    with store.database.read() as connection:
        return turn_rows.read_pending_inputs(connection, turn_id)


def is_interrupted(store: Store, turn_id: str) -> bool:
    """Return whether an interrupt of the turn was requested."""
    with store.database.read() as connection:
        return turn_rows.get(connection, turn_id).interrupted


def make_message(store: Store, claim: Claim, text: str, *, completed: bool = True) -> Item:
    """Store an agentMessage of a claimed turn."""
    item = Item(
        id=new_id(),
        thread_id=claim.thread_id,
        turn_id=claim.turn_id,
        position=len(log_rows(store, claim.thread_id)) + 1,
        kind="agentMessage",
        item={**agent_message(text)},
        started_at_ms=now_ms(),
        completed_at_ms=now_ms() if completed else None,
    )
    store.commit([Write(claim, append=[item])], Published())
    return item


def end_turn(store: Store, claim: Claim, status: str = "completed") -> Turn:
    """Consume the pending input, then end the turn."""
    read = [(pending.id, new_id()) for pending in unread_inputs(store, claim.turn_id)]
    store.commit([Write(claim, read=read, end=End(status, now_ms()))], Published())
    return store.turns.get(claim.turn_id, claim.owner)


def delta(thread_id: str, item_id: str, text: str, turn_id: str = "T") -> Event:
    """Return an item/agentMessage/delta event, as the journal publishes it."""
    params = {"threadId": thread_id, "turnId": turn_id, "itemId": item_id, "delta": text}
    return Event(AGENT_DELTA, params, item_id=item_id, role="delta", stream=AGENT_DELTA, text=text)


class SilentQueue:
    """A queue that only records what is enqueued; no worker reads it.

    enqueued: ids of turns and reports, "erasure" and "delivery", in order
    made:     (thread id, owner) of each workspace that a worker would make
    calls:    (call id, kind, params, owner) of each worker call
    """

    def __init__(self) -> None:
        self.enqueued: list[str] = []
        self.made: list[tuple[str, str]] = []
        self.calls: list[tuple[str, str, dict[str, Any], str]] = []

    def enqueue_turn(self, turn_id: str) -> None:
        self.enqueued.append(turn_id)

    def enqueue_call(self, call_id: str, kind: str, params: dict[str, Any], owner: str, *, expires_s: float) -> None:
        self.calls.append((call_id, kind, params, owner))

    def enqueue_delivery(self) -> None:
        self.enqueued.append("delivery")

    def enqueue_session_files(self, thread_ids: Iterable[str]) -> None:
        pass

    def enqueue_erasure(self) -> None:
        self.enqueued.append("erasure")

    def count_deliveries(self) -> int:
        return self.enqueued.count("delivery")

    def count_erasures(self) -> int:
        return self.enqueued.count("erasure")

    def enqueue_workspace(self, thread_id: str, owner: str) -> None:
        self.made.append((thread_id, owner))

    def enqueue_feedback(self, report_id: str) -> None:
        self.enqueued.append(report_id)


@dataclass
class Backend:
    """An API process without a network: real store, relay and dispatch over a Redis in memory."""

    services: Services
    redis_server: fakeredis.FakeServer
    clients: list[Client] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.services.store

    @property
    def config(self) -> Config:
        return self.services.config

    @property
    def enqueued(self) -> list[str]:
        queue = self.services.queue
        assert isinstance(queue, SilentQueue)
        return queue.enqueued

    @property
    def made(self) -> list[tuple[str, str]]:
        queue = self.services.queue
        assert isinstance(queue, SilentQueue)
        return queue.made

    @property
    def calls(self) -> list[tuple[str, str, dict[str, Any], str]]:
        queue = self.services.queue
        assert isinstance(queue, SilentQueue)
        return queue.calls

    def connect(
        self, user_id: str = LOCAL_USER, *, initialized: bool = True, role: str = "member", **capabilities: Any
    ) -> Client:
        """Return a client on a new connection."""
        client = Client(self.services, Connection(Caller(User(user_id, user_id, role)), self.services.events))
        self.clients.append(client)
        if initialized:
            client.call("initialize", {"clientInfo": {"name": "test", "version": "1"}, "capabilities": capabilities})
            self.services.relay.attach(client.connection)
        return client

    def publish(self, thread: Thread, *events: Event, **batch: Any) -> str:
        """Publish a batch of events, as a worker does. Return its outcome (see `EventLog.publish`)."""
        log = self.services.events
        return log.publish([log.batch(thread.id, thread.owner, events, **batch)])[0]

    def close(self) -> None:
        for client in self.clients:
            self.services.relay.detach(client.connection)
        self.services.relay.close()
        self.services.store.close()


class Client:
    """A client that sends frames to `dispatch` and reads those that its connection queues."""

    def __init__(self, services: Services, connection: Connection) -> None:
        self.connection = connection
        self._recording = Recording()
        self.frames = self._recording.received
        self._services = services
        self._ids = iter(range(1, 1_000_000))

    def send(self, frame: Any) -> None:
        self._recording.note(frame)
        dispatch.handle_message(self._services, self.connection, frame, self._services.limits.bodies.reserve(""))

    def reply(self, method: str, params: Any = None) -> dict[str, Any]:
        """Send a request. Return its response frame."""
        request_id = next(self._ids)
        request = {"id": request_id, "method": method, "params": params}
        self.send(request if params is not None else {"id": request_id, "method": method})
        return self.wait_for(lambda frame: frame.get("id") == request_id and "method" not in frame)

    def call(self, method: str, params: Any = None) -> dict[str, Any]:
        """Send a request. Return its result."""
        reply = self.reply(method, {} if params is None else params)
        assert "result" in reply, reply
        result: dict[str, Any] = reply["result"]
        return result

    def error(self, method: str, params: Any = None) -> dict[str, Any]:
        """Send a request. Return its error."""
        error: dict[str, Any] = self.reply(method, params)["error"]
        return error

    def wait_for(self, wanted: Any, deadline_s: float = 60.0) -> dict[str, Any]:
        """Wait for the first frame that `wanted` accepts, from the first one on. Errors: TimeoutError."""
        import time

        until_s = time.monotonic() + deadline_s
        checked = 0
        while True:
            for frame in self.frames[checked:]:
                if wanted(frame):
                    return frame
            checked = len(self.frames)
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"not received; last: {self.frames[-3:]}")
            self._dequeue(left_s)

    def wait_for_method(self, method: str) -> dict[str, Any]:
        return self.wait_for(lambda frame: frame.get("method") == method)

    def wait_for_delta(self, text: str) -> dict[str, Any]:
        return self.wait_for(lambda frame: frame.get("params", {}).get("delta") == text)

    def methods(self) -> list[str]:
        """Return the methods of the notifications and server requests so far, in order."""
        return [frame["method"] for frame in self.frames if "method" in frame]

    def text(self, item_id: str) -> str:
        """Return the joined deltas of an agentMessage."""
        params = [frame["params"] for frame in self.frames if frame.get("method") == AGENT_DELTA]
        return "".join(each["delta"] for each in params if each["itemId"] == item_id)

    def closed(self) -> Closed:
        """Read frames until the connection is closed. Return why it closed."""
        while True:
            try:
                self._dequeue(5.0)
            except Closed as closed:
                return closed

    def _dequeue(self, timeout_s: float) -> None:
        dequeued: list[Frame] = self.connection.dequeue(timeout_s)
        self.frames += [decode(frame.data) for frame in dequeued]


def make_backend(home: Path, template: Path, **settings: Any) -> Backend:
    """Return a Backend whose database is a copy of a migrated template."""
    config = make_config(home, **settings)
    shutil.copy(template, home / "threadhouse.sqlite3")
    server = fakeredis.FakeServer()
    commands, listener = fakeredis.FakeRedis(server=server), fakeredis.FakeRedis(server=server)
    store = Store(config.database_url, config.listeners)
    log = EventLog(commands, max_entries=config.server.event_log_length, max_bytes=config.server.event_log_bytes)
    relay = Relay(listener, commands, log)
    queue: Any = SilentQueue()
    limits = RequestLimits(commands, store, config.limits)
    return Backend(Services(config, store, commands, log, queue, relay, limits, redaction(config)), server)
