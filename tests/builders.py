"""Things that tests need many of, made with one call."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fakeredis

from api import dispatch
from api.caller import Caller
from api.connection import Closed, Connection, Frame
from api.context import Services
from api.limits import UserLimits
from api.relay import Relay
from api.settings import defaults
from shared.clock import now_ms
from shared.config import Config, Server
from shared.events import Event, EventLog
from shared.feedback import redaction
from shared.ids import new_id
from shared.protocol.frames import decode
from shared.protocol.notifications import AGENT_DELTA
from shared.store import Store
from shared.store.items import Item
from shared.store.threads import Thread
from shared.store.turns import Claim, NewTurn, Turn
from shared.store.users import LOCAL_USER, User
from shared.store.writes import Announced, End, Write
from tests.support.contract import Recording

LEASE_MS = 30_000


def make_config(home: Path, **settings: Any) -> Config:
    """A configuration that needs nothing running. server: keyword arguments of Server."""
    server = Server(workspaces_dir=home / "workspaces", **settings.pop("server", {}))
    values = {"redis_url": "redis://127.0.0.1:1/0", "database_url": f"sqlite:///{home}/threadhouse.sqlite3"}
    return Config(home=home, server=server, **{**values, **settings})


def make_thread(store: Store, config: Config, owner: str = LOCAL_USER, **values: Any) -> Thread:
    """A stored thread of the local user, with the default settings."""
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
    """A queued turn with one unread message."""
    new = NewTurn(text_input(text), client_id, {}, {})
    return store.turns.create_or_steer(thread.id, thread.owner, new, queued_limit=0)[0]


def claim_turn(store: Store) -> Claim:
    """What a worker does first."""
    claim = store.turns.claim("test-worker", lease_ms=LEASE_MS, turns_at_once=0)
    assert claim is not None
    return claim


def make_message(store: Store, claim: Claim, text: str, *, completed: bool = True) -> Item:
    """A stored agentMessage of a claimed turn."""
    item = Item(
        id=new_id(),
        thread_id=claim.thread_id,
        turn_id=claim.turn_id,
        position=store.items.last_position(claim.thread_id) + 1,
        kind="agentMessage",
        item={"text": text, "phase": None},
        started_at_ms=now_ms(),
        completed_at_ms=now_ms() if completed else None,
    )
    store.commit([Write(claim, append=[item])], Announced())
    return item


def end_turn(store: Store, claim: Claim, status: str = "completed") -> Turn:
    """Read what is unread, then end."""
    read = [(letter.id, new_id()) for letter in store.turns.unread(claim.turn_id)]
    store.commit([Write(claim, read=read, end=End(status, now_ms()))], Announced())
    return store.turns.get(claim.turn_id, claim.owner)


def delta(thread_id: str, item_id: str, text: str, turn_id: str = "T") -> Event:
    """item/agentMessage/delta, as the journal publishes it."""
    params = {"threadId": thread_id, "turnId": turn_id, "itemId": item_id, "delta": text}
    return Event(AGENT_DELTA, params, item_id=item_id, role="delta", stream=AGENT_DELTA, text=text)


class SilentQueue:
    """A queue whose bells are only counted. calls: (call id, kind, params, owner) of each that a worker would run.

    made: (thread id, owner) of workspaces to be made
    """

    def __init__(self) -> None:
        self.rung: list[str] = []
        self.made: list[tuple[str, str]] = []
        self.calls: list[tuple[str, str, dict[str, Any], str]] = []

    def ring_turn(self, turn_id: str) -> None:
        self.rung.append(turn_id)

    def run_call(self, call_id: str, kind: str, params: dict[str, Any], owner: str, *, expires_s: float) -> None:
        self.calls.append((call_id, kind, params, owner))

    def write_session(self, thread_id: str) -> None:
        pass

    def erase(self) -> None:
        self.rung.append("erasure")

    def make_workspace(self, thread_id: str, owner: str) -> None:
        self.made.append((thread_id, owner))

    def process_feedback(self, report_id: str) -> None:
        self.rung.append(report_id)


@dataclass
class House:
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
    def rung(self) -> list[str]:
        queue = self.services.queue
        assert isinstance(queue, SilentQueue)
        return queue.rung

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
        """A client on a connection of its own."""
        client = Client(self.services, Connection(Caller(User(user_id, user_id, role)), self.services.events))
        self.clients.append(client)
        if initialized:
            client.call("initialize", {"clientInfo": {"name": "test", "version": "1"}, "capabilities": capabilities})
            self.services.relay.attach(client.connection)
        return client

    def publish(self, thread: Thread, *events: Event, **batch: Any) -> str:
        """What a worker would publish."""
        log = self.services.events
        return log.publish([log.batch(thread.id, thread.owner, events, **batch)])[0]

    def close(self) -> None:
        for client in self.clients:
            self.services.relay.detach(client.connection)
        self.services.relay.close()
        self.services.store.close()


class Client:
    """Speaks frames with dispatch, and takes what its connection queues."""

    def __init__(self, services: Services, connection: Connection) -> None:
        self.connection = connection
        self._recording = Recording()
        self.frames = self._recording.received
        self._services = services
        self._ids = iter(range(1, 1_000_000))

    def send(self, frame: Any) -> None:
        self._recording.note(frame)
        dispatch.receive(self._services, self.connection, frame)

    def reply(self, method: str, params: Any = None) -> dict[str, Any]:
        """The response frame of a request."""
        request_id = next(self._ids)
        request = {"id": request_id, "method": method, "params": params}
        self.send(request if params is not None else {"id": request_id, "method": method})
        return self.wait_for(lambda frame: frame.get("id") == request_id and "method" not in frame)

    def call(self, method: str, params: Any = None) -> dict[str, Any]:
        """The result of a request."""
        reply = self.reply(method, {} if params is None else params)
        assert "result" in reply, reply
        result: dict[str, Any] = reply["result"]
        return result

    def error(self, method: str, params: Any = None) -> dict[str, Any]:
        """The error of a request."""
        error: dict[str, Any] = self.reply(method, params)["error"]
        return error

    def wait_for(self, wanted: Any, deadline_s: float = 5.0) -> dict[str, Any]:
        """The first frame so far, or to come, that is wanted."""
        import time

        until_s = time.monotonic() + deadline_s
        place = 0
        while True:
            for frame in self.frames[place:]:
                if wanted(frame):
                    return frame
            place = len(self.frames)
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"not received; last: {self.frames[-3:]}")
            self._take(left_s)

    def wait_for_method(self, method: str) -> dict[str, Any]:
        return self.wait_for(lambda frame: frame.get("method") == method)

    def wait_for_delta(self, text: str) -> dict[str, Any]:
        return self.wait_for(lambda frame: frame.get("params", {}).get("delta") == text)

    def methods(self) -> list[str]:
        """Of what came without being asked for, in order."""
        return [frame["method"] for frame in self.frames if "method" in frame]

    def text(self, item_id: str) -> str:
        """All deltas of an item, joined."""
        params = [frame["params"] for frame in self.frames if frame.get("method") == AGENT_DELTA]
        return "".join(one["delta"] for one in params if one["itemId"] == item_id)

    def closed(self) -> Closed:
        """Take until the connection is over."""
        while True:
            try:
                self._take(5.0)
            except Closed as over:
                return over

    def _take(self, timeout_s: float) -> None:
        taken: list[Frame] = self.connection.take(timeout_s)
        self.frames += [decode(frame.data) for frame in taken]


def make_house(home: Path, template: Path, **settings: Any) -> House:
    """A House whose database is a copy of a migrated template."""
    config = make_config(home, **settings)
    shutil.copy(template, home / "threadhouse.sqlite3")
    server = fakeredis.FakeServer()
    commands, listener = fakeredis.FakeRedis(server=server), fakeredis.FakeRedis(server=server)
    store = Store(config.database_url)
    log = EventLog(commands, max_entries=config.server.event_log_length)
    relay = Relay(listener, commands, log)
    queue: Any = SilentQueue()
    limits = UserLimits(commands, store, config.limits)
    return House(Services(config, store, commands, log, queue, relay, limits, redaction(config)), server)
