"""Context: all that a method handler may touch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import redis

from api.caller import Caller
from api.connection import Connection, Frame, notification
from api.limits import UserLimits
from api.relay import Relay, Start
from shared import announcements, mailbox, telemetry
from shared.calls import Call
from shared.clock import now_ms
from shared.config import Config
from shared.errors import InvalidRequest, NotFound
from shared.events import Event, EventLog
from shared.protocol.thread import goal_object, thread_settings
from shared.queue import Queue
from shared.redaction import Redaction
from shared.store import Store
from shared.store.approvals import Approval
from shared.store.audit import Act
from shared.store.items import Item
from shared.store.threads import Thread
from shared.store.turns import Turn

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0  # that archive and delete wait for a worker to let go of the thread
STOP_POLL_SECONDS = 0.05
CALL_SECONDS = 30.0  # that a worker gets for what takes moments


@dataclass(frozen=True, slots=True)
class Services:
    """What one API process holds; built by api.app."""

    config: Config
    store: Store
    redis: redis.Redis
    events: EventLog
    queue: Queue
    relay: Relay
    limits: UserLimits
    redaction: Redaction


@dataclass(slots=True)
class Context:
    """One request.

    connection: the one to subscribe; None for HTTP without a stream
    frames:     what follows the reply, before the thread's events
    on_its_way: set when a slow request waits for others only, so that the connection's next one may be handled
    followed:   the thread that the request subscribed the connection to
    """

    services: Services
    caller: Caller
    connection: Connection | None = None
    frames: list[Frame] = field(default_factory=list)
    on_its_way: threading.Event = field(default_factory=threading.Event)
    followed: str | None = None
    _later: list[tuple[Callable[..., object], tuple[Any, ...]]] = field(default_factory=list)
    _held: list[str] = field(default_factory=list)

    @property
    def user_id(self) -> str:
        return self.caller.user.id

    @property
    def config(self) -> Config:
        return self.services.config

    @property
    def store(self) -> Store:
        return self.services.store

    def room_for_turn(self) -> dict[str, int]:
        """How many turns may wait, as the store takes it. Errors: Overloaded (no room for what it would say)."""
        self.services.limits.check_bytes(self.user_id)
        queued = self.services.limits.of(self.user_id).queued_turns
        return {"queued_limit": queued, "waiting_limit": self.config.limits.waiting_turns}

    # -- what waits for the reply

    def after_reply(self, call: Callable[..., object], *args: Any) -> None:
        """Put something off until the client has its reply. It must not be needed: a crash may lose it."""
        self._later.append((call, args))

    def finish(self) -> None:
        """The reply is queued: let events through and do what was put off."""
        self.let_go()
        for call, args in self._later:
            try:
                call(*args)
            except Exception:  # the fact stands in the store; the sweep does what is missing
                logger.exception("after the reply", extra={"call": call.__name__})

    def hold(self, thread_id: str) -> None:
        """Keep the thread's events from this connection until the reply is queued."""
        if self.connection is not None:
            self.connection.hold(thread_id)
            self._held.append(thread_id)

    def let_go(self) -> None:
        while self._held and self.connection is not None:
            self.connection.release(self._held.pop())

    # -- threads and who follows them

    def get_thread(self, thread_id: str, missing: str = "thread not found: {}") -> Thread:
        """The caller's thread. missing: the original's words for one that is not there. Errors: NotFound."""
        thread = self.store.threads.find(thread_id, self.user_id)
        if thread is None:
            raise NotFound(missing.format(thread_id))
        return thread

    def follow(self, thread_id: str, cursor: str | None = None) -> Start | None:
        """Subscribe the caller's connection, from now or from a cursor on. None: there is no connection."""
        if self.connection is None:
            return None
        self.hold(thread_id)
        start = self.services.relay.follow(self.connection, thread_id, cursor)
        self.followed = thread_id
        return start

    def show(
        self,
        thread: Thread,
        start: Start | None,
        *,
        last_turn: Turn | None = None,
        items: Iterable[Item] = (),
        pending: Iterable[Approval] = (),
    ) -> None:
        """After the reply: the open items, the open questions under their old ids, the last known token usage.

        last_turn: the thread's last one, as the reply told it; items: the completed ones that it told
        """
        if start is None or self.connection is None:
            return
        pending = self._not_to_come(thread.id, pending)
        told = {item.id for item in items} if start.fresh else set()
        self.frames += start.frames(told)
        self.frames += [question(approval) for approval in pending]
        if thread.token_usage and last_turn:
            usage = {"threadId": thread.id, "turnId": last_turn.id, "tokenUsage": thread.token_usage}
            self.frames.append(notification("thread/tokenUsage/updated", usage))
        keys = [event.key for approval in pending for event in announcements.question_asked(approval)]
        keys += [f"item:{item.item_id}:started" for item in start.open_items]
        if start.fresh and last_turn is not None:
            keys += _told_keys(last_turn)
        active = last_turn.id if last_turn and not last_turn.done else None
        self.connection.was_told(thread.id, keys=keys, items=told, open_turn=active)

    def _not_to_come(self, thread_id: str, pending: Iterable[Approval]) -> list[Approval]:
        """Questions less those that the connection is to read in the log, behind the items that they are about."""
        pending = list(pending)
        if not pending or self.connection is None:
            return pending
        count = 2 * self.config.server.event_log_length  # the log is trimmed roughly
        ahead = self.services.events.read(thread_id, self.connection.place(thread_id), count)
        keys = {entry.key for entry in ahead}
        return [one for one in pending if keys.isdisjoint((f"request:{one.id}", f"item:{one.item_id}:started"))]

    # -- what needs a workspace

    def call(
        self,
        kind: str,
        params: dict[str, Any],
        *,
        deadline_s: float | None = CALL_SECONDS,
        on_output: Callable[[Any], None] | None = None,
        name: str | None = None,
    ) -> dict[str, Any]:
        """Have a worker do something (workers.tasks.run_call), and wait for its result; it ends with the connection.

        deadline_s, on_output: as in shared.calls
        name:       to find the call by meanwhile, once a connection
        Errors:     what the worker answers; Unavailable, CallLost, redis.RedisError; InvalidRequest (the name is taken)
        """
        call = Call(self.services.redis, self.services.queue, self.services.relay, kind, params, self.user_id)
        name = name or call.id
        if self.connection is not None:
            self.connection.enter_call(name, call)
        try:
            call.start()
            self.on_its_way.set()
            result: dict[str, Any] = call.wait(deadline_s, on_output)
            return result
        finally:
            if self.connection is not None:
                self.connection.leave_call(name, call)

    # -- telling the world

    def publish(self, thread_id: str, *events: Event) -> None:
        """Events of a thread of the caller, not of a turn."""
        log = self.services.events
        log.publish([log.batch(thread_id, self.user_id, events)])

    def publish_settings(self, thread: Thread) -> None:
        """thread/settings/updated."""
        settings = {"threadId": thread.id, "threadSettings": thread_settings(thread)}
        self.publish(thread.id, Event("thread/settings/updated", settings))

    def announce(self, turn: Turn) -> None:
        """Publish what the store knows of a turn that no worker holds."""
        announcements.announce(self.store, self.services.events, turn)
        if self.config.webhooks:
            self.services.queue.ring_outbox()
        if turn.done:  # no worker had it
            telemetry.turn_ended(turn.id, turn.thread_id, turn.owner, turn.status, turn.created_at_ms, turn.error)

    def ring(self, turn: Turn) -> None:
        """A turn waits for a worker."""
        self.services.queue.ring_turn(turn.id)

    def write_session(self, thread_id: str) -> None:
        """The thread's session file is behind: it moved, has another name or is gone."""
        self.services.queue.write_session(thread_id)

    def call_turn(self, what: bytes, turn: Turn) -> None:
        """Tell the worker that runs the turn to look into its mail."""
        mailbox.announce(self.services.redis, what, turn.id)

    def act(self, action: str) -> Act:
        """What the audit log says of this request, for the store call that does it."""
        return self.caller.act(action)

    def goal(self, thread: Thread) -> dict[str, Any] | None:
        """ThreadGoal, with what the thread's turns used since it was set."""
        if thread.goal is None:
            return None
        since_ms = thread.goal["createdAtMs"]
        turns = self.store.turns.of_thread(thread.id, self.user_id)
        begun = [(turn.started_at_ms, turn.completed_at_ms or now_ms()) for turn in turns if turn.started_at_ms]
        return goal_object(thread, sum(end_ms - start_ms for start_ms, end_ms in begun if start_ms >= since_ms))

    def revert(self, thread: Thread, before_turn_id: str, act: Act) -> None:
        """Drop a turn and all later ones; what runs is interrupted."""
        if self.store.turns.get(before_turn_id, self.user_id).thread_id != thread.id:
            raise NotFound(f"turn not found: {before_turn_id}")
        self.stop_active_turn(thread)
        self.store.histories.revert(thread.id, self.user_id, before_turn_id, act=act)
        statuses = ({"type": "notLoaded"}, {"type": "idle"})
        told = [Event("thread/status/changed", {"threadId": thread.id, "status": status}) for status in statuses]
        self.after_reply(self.publish, thread.id, *told, Event("thread/reverted", {"threadId": thread.id}))

    def stop_active_turn(self, thread: Thread) -> None:
        """Interrupt what runs in the thread, and wait a while until it is over and told."""
        if thread.active_turn is None:
            return
        try:
            turn = self.store.turns.interrupt(thread.id, self.user_id, None)
        except InvalidRequest:  # it ended by itself
            return
        if turn.done:
            self.announce(turn)
            return
        self.call_turn(mailbox.INTERRUPT, turn)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and not self.store.turns.get(turn.id, self.user_id).done:
            time.sleep(STOP_POLL_SECONDS)


def question(approval: Approval) -> Frame:
    """A server request that is asked again, under its old id."""
    asked = announcements.question_asked(approval)[-1]
    return Frame(asked.head() + b"}", asked.method)


def _told_keys(turn: Turn) -> list[str]:
    """Of the events that a turn as a reply shows it makes superfluous, as far as they are out."""
    events = []
    if turn.announced >= announcements.ANNOUNCED_STARTED:
        events += announcements.turn_started(turn)
    if turn.announced >= announcements.ANNOUNCED_ENDED:
        events += announcements.turn_ended(turn, None)
    return [event.key for event in events]
