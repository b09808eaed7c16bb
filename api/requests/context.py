"""Context: one request, and all that its method handler may touch.

Owns what is put off until the reply is queued, and the pauses of the connection's threads until then. What handlers do
beyond one call of a service is in the modules beside this one, each a function of the context: subscriptions (follow a
thread), worker_calls (ask a worker), turn_control (stop and drop turns), goals.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypedDict

import redis
from kombu.exceptions import OperationalError

from api.access.caller import Caller
from api.delivery.connection import Connection
from api.delivery.frames import Frame
from api.requests.services import Services
from shared import telemetry
from shared.config import Config
from shared.errors import NotFound
from shared.events import durable_events, turn_signals
from shared.events.log import Event
from shared.protocol.settings import ThreadSettings
from shared.store import Store
from shared.store.audit import AuditEntry
from shared.store.threads import Thread
from shared.store.turns import Turn
from shared.views.thread import thread_settings

logger = logging.getLogger(__name__)


class TurnLimits(TypedDict):
    """Keyword arguments of the store's calls that create a turn. 0: no limit.

    queued_limit:  turns of the user that may wait
    waiting_limit: turns of all users that may wait
    """

    queued_limit: int
    waiting_limit: int


@dataclass(slots=True)
class Context:
    """One request.

    request_id:  of the request on its connection; None for HTTP
    connection:  the connection that follows threads; None for HTTP without a stream
    frames:      sent after the reply and before the thread's events
    only_waits:  set when a slow request only waits for others, so that the connection's next request may be handled
    followed:    id of the thread that the request subscribed the connection to
    has_begun_to_follow: whether it did not follow it before
    """

    services: Services
    caller: Caller
    connection: Connection | None = None
    request_id: int | str | None = None
    frames: list[Frame] = field(default_factory=list)
    only_waits: threading.Event = field(default_factory=threading.Event)
    followed: str | None = None
    has_begun_to_follow: bool = False
    _deferred: list[tuple[Callable[..., object], tuple[Any, ...]]] = field(default_factory=list)
    _paused: list[str] = field(default_factory=list)

    @property
    def user_id(self) -> str:
        return self.caller.user.id

    @property
    def config(self) -> Config:
        return self.services.config

    @property
    def store(self) -> Store:
        return self.services.store

    def get_thread(self, thread_id: str, missing: str = "thread not found: {}") -> Thread:
        """Return the caller's thread. missing: the original's message for an unknown one. Errors: NotFound."""
        thread = self.store.threads.find(thread_id, self.user_id)
        if thread is None:
            raise NotFound(missing.format(thread_id))
        return thread

    def audit_entry(self, action: str) -> AuditEntry:
        """Return what the audit log records of this request, for the store call that carries it out."""
        return self.caller.audit_entry(action)

    def turn_limits(self) -> TurnLimits:
        """Return how many turns may wait. Errors: Overloaded (no space left to store the turn's output)."""
        self.services.limits.check_bytes(self.user_id)
        queued = self.services.limits.of(self.user_id).queued_turns
        return {"queued_limit": queued, "waiting_limit": self.config.limits.waiting_turns}

    # -- before and after the reply

    def pause(self, thread_id: str) -> None:
        """Send the connection no events of a thread until the reply is queued."""
        if self.connection is not None:
            self.connection.pause(thread_id)
            self._paused.append(thread_id)

    def after_reply(self, call: Callable[..., object], *args: Any) -> None:
        """Call a function once the reply is queued. It must not be essential: a crash may lose the call."""
        self._deferred.append((call, args))

    def finish(self) -> None:
        """Let events through and make the deferred calls; the reply is queued."""
        while self._paused and self.connection is not None:
            self.connection.unpause(self._paused.pop())
        for call, args in self._deferred:
            try:
                call(*args)
            except (redis.RedisError, OperationalError) as error:  # what was done is stored
                logger.warning("Redis does not answer, left to the sweep: %s: %s", call.__name__, error)
            except Exception:  # likewise
                logger.exception("call after a reply failed, left to the sweep", extra={"call": call.__name__})

    # -- for after_reply: publish and enqueue what the store has

    def publish(self, thread_id: str, *events: Event) -> None:
        """Publish events of one of the caller's threads that belong to no turn."""
        log = self.services.events
        log.publish([log.batch(thread_id, self.user_id, events)])

    def publish_settings(self, thread: Thread) -> None:
        """Publish thread/settings/updated."""
        settings = {"threadId": thread.id, "threadSettings": thread_settings(thread)}
        self.publish(thread.id, Event("thread/settings/updated", settings))

    def publish_turn(self, turn: Turn) -> None:
        """Publish the stored events of a turn that no worker runs, as far as they are not published yet."""
        durable_events.publish_missing(self.store, self.services.events, turn)
        if self.config.webhooks:
            self.services.queue.enqueue_delivery()
        if turn.done:  # no worker reports it to telemetry
            telemetry.turn_ended(turn, partial(self._settings, turn.thread_id), turn.status, turn.error)

    def _settings(self, thread_id: str) -> ThreadSettings | None:
        thread = self.store.threads.find(thread_id, self.user_id)
        return thread.settings if thread else None

    def enqueue_turn(self, turn: Turn) -> None:
        """Enqueue a wake-up for a waiting turn."""
        self.services.queue.enqueue_turn(turn.id)

    def stop_terminals(self, thread_id: str, process_id: int | None = None) -> bool:
        """Ask to end one background terminal of a thread, or all of them. Return whether any was now asked to end."""
        asked = self.store.terminals.request_stop(thread_id, self.user_id, process_id)
        for item_id in asked:
            self.after_reply(turn_signals.publish, self.services.redis, turn_signals.STOP_TERMINAL, item_id)
        return bool(asked)

    def signal_turn(self, signal: bytes, turn: Turn) -> None:
        """Signal the worker that runs a turn. signal: turn_signals.STEER or INTERRUPT."""
        turn_signals.publish(self.services.redis, signal, turn.id)
