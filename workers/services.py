"""What a worker process consists of, built once from the configuration.

Owns the connections, the registry of running turns, and the thread that receives this process's messages from Redis:
stops of its turns, and input of its calls.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared import redis_clients
from shared.config import Config, load
from shared.config.mcp_servers import McpServer
from shared.errors import ConfigError
from shared.event_names import TURN_SIGNALS_CHANNEL, worker_channel
from shared.events import terminal_input, turn_signals, worker_calls
from shared.events.log import Event, EventLog
from shared.events.terminal_input import TerminalInput
from shared.ids import new_id
from shared.queue import Queue
from shared.store import Store
from shared.store.connection import ANSWER_SECONDS, Database
from shared.store.turns import Claim
from shared.store.users import LOCAL_USER
from workers.agent.known_logs import KnownLogs
from workers.calls.running import RunningCalls
from workers.control.claimer import Claimer
from workers.control.fair_queue import FairQueue
from workers.control.signal import Signal, StopReason
from workers.journal.journal import Journal
from workers.mcp.pool import STARTUP_STATUS, McpPool
from workers.terminals.running import RunningTerminals

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger(__name__)

REDIS_TIMEOUT_SECONDS = 5.0
MIN_ANSWER_SECONDS = 1.0  # for which the journal waits for an answer, with leases as short as those of tests
MIN_TURNS_ANSWER_SECONDS = 5.0  # the same for turns: with a short lease they notice a silent database earlier, too
PING_SECONDS = 5.0  # of silence before the listener asks whether Redis still answers
LISTEN_AGAIN_SECONDS = 0.5  # after Redis closed the subscription
ERASING_AT_ONCE = 2  # threads of one process; a second one, because erasing one user may take long
WORKSPACES_AT_ONCE = 4  # made by one process ahead of their turns; more would only compete for the disk
STOP_REASONS = {turn_signals.STEER: StopReason.STEER, turn_signals.INTERRUPT: StopReason.INTERRUPT}


class Services:
    """Everything that tasks need. One object per worker process.

    running: turn id → its signal, of the turns that run here
    known_logs: of threads whose last turn ended here
    erasing: one place for each task that may continue erasures here
    unmade_workspaces: ids of threads whose workspaces this process is to make ahead of their turns
    """

    def __init__(
        self, config: Config, celery: Celery, connect: Callable[..., redis.Redis] = redis_clients.connect
    ) -> None:
        """connect: (url, connection settings) → client of the Redis that has the event logs and the turn signals."""
        server = config.server
        self.config = config
        self.name = f"{socket.gethostname()}:{os.getpid()}:{new_id()[-12:]}"
        turns_answer_seconds = min(ANSWER_SECONDS, max(MIN_TURNS_ANSWER_SECONDS, server.lease_seconds))
        self.store = Store(
            config.database_url,
            config.listeners,
            partial(Database, answer_seconds=turns_answer_seconds),
            workspaces_dir=server.workspaces_dir,
        )
        self._connect = connect
        self.redis = connect(
            config.redis_url, socket_timeout=REDIS_TIMEOUT_SECONDS, socket_connect_timeout=REDIS_TIMEOUT_SECONDS
        )
        self.log = EventLog(self.redis, max_entries=server.event_log_length, max_bytes=server.event_log_bytes)
        self.queue = Queue(celery, self.redis)
        # The journal renews the leases, so nothing that it waits for may take it past the end of its authority.
        answer_seconds = max(MIN_ANSWER_SECONDS, (server.authority_seconds - server.renewal_seconds) / 2)
        self.journal_store = Store(
            config.database_url,
            config.listeners,
            partial(Database, pool_size=1, answer_seconds=answer_seconds, writes_first=True),
            workspaces_dir=server.workspaces_dir,
        )
        redis_seconds = min(REDIS_TIMEOUT_SECONDS, answer_seconds)
        journal_redis = connect(  # without retries: the journal itself tries again
            config.redis_url,
            socket_timeout=redis_seconds,
            socket_connect_timeout=redis_seconds,
            retry=Retry(NoBackoff(), 0),
        )
        self.journal = Journal(
            self.journal_store,
            EventLog(journal_redis, max_entries=server.event_log_length, max_bytes=server.event_log_bytes),
            lease_seconds=server.lease_seconds,
            renewal_seconds=server.renewal_seconds,
            authority_seconds=server.authority_seconds,
        )
        self.calls = RunningCalls(self.redis, self.name, server.worker_concurrency)
        self.terminals = RunningTerminals(
            self.store,
            self.journal,
            self.redis,
            self.name,
            lease_seconds=server.lease_seconds,
            renewal_seconds=server.renewal_seconds,
            authority_seconds=server.authority_seconds,
        )
        self.mcp = McpPool(config, self._publish_mcp_status, self._login_tokens)
        self.claimer = Claimer(self._claim_turns)
        self.running: dict[str, Signal] = {}
        self.known_logs = KnownLogs()
        self.unmade_workspaces = FairQueue(min(WORKSPACES_AT_ONCE, max(1, server.worker_concurrency // 2)))
        self.erasing = threading.Semaphore(ERASING_AT_ONCE)
        self.draining = threading.Event()
        self._lock = threading.Lock()
        self._listener = threading.Thread(target=self._listen, name="signals", daemon=True)

    def start(self) -> None:
        self.journal.start()
        self._listener.start()
        self.calls.start()

    def close(self, timeout_seconds: float) -> None:
        """Store and publish what is left, then close the connections to the database."""
        self.terminals.join(timeout_seconds)
        self.mcp.close()
        self.journal.stop(timeout_seconds)
        self.journal_store.close()
        self.store.close()

    def enter(self, turn_id: str, signal: Signal) -> None:
        """Register a turn that begins to run here."""
        with self._lock:
            self.running[turn_id] = signal
            draining = self.draining.is_set()
        if draining:
            signal.request(StopReason.DRAIN)

    def leave(self, turn_id: str, signal: Signal) -> None:
        """Forget a turn that has left this process."""
        with self._lock:
            if self.running.get(turn_id) is signal:
                del self.running[turn_id]

    def _claim_turns(self, names: Sequence[str], looks_first: bool) -> list[Claim]:
        if self.draining.is_set():  # since they began to wait
            return []
        lease_ms, turns_at_once = round(self.config.server.lease_seconds * 1000), self.config.limits.turns_at_once
        return self.store.claims.claim(names, lease_ms=lease_ms, turns_at_once=turns_at_once, looks_first=looks_first)

    def drain(self) -> None:
        """Claim no more turns, and ask the running ones to be requeued at their next boundary."""
        with self._lock:
            self.draining.set()
            signals = list(self.running.values())
        logger.info("drain began, %d turns running", len(signals))
        for signal in signals:
            signal.request(StopReason.DRAIN)
        self.calls.drain()
        self.terminals.drain()
        self.mcp.drain()
        with suppress(OperationalError):  # without Redis, the threads' first turns make them
            for owner, thread_id in self.unmade_workspaces.clear():
                self.queue.enqueue_workspace(thread_id, owner)

    def _login_tokens(self, owner: str, server: McpServer) -> httpx2.Auth | None:
        """Return what puts the token of a user's login into requests to an MCP server; None: it has another token."""
        keys, url = self.config.server.secrets_key, server.url
        if keys is None or url is None or any(name.lower() == "authorization" for name in server.headers):
            return None
        from workers.mcp.login_tokens import LoginTokens

        return LoginTokens(self.store, self.redis, keys, owner, url, allow_private=server.allow_private)

    def _reload_mcp(self, owner: str) -> None:
        """Have an owner's MCP servers follow the configuration; config.toml only for the local user, who owns it."""
        if owner == LOCAL_USER:
            try:
                self.mcp.operator_servers = load(self.config.home, os.environ).mcp_servers
            except ConfigError as error:
                logger.warning("configuration not read again: %s", error)
        self.mcp.reload(owner)

    def _publish_mcp_status(self, thread_id: str, owner: str, params: Mapping[str, object]) -> None:
        """Publish how an MCP server of a thread stands. It is not stored: a client that misses it may ask."""
        try:
            self.log.publish(
                [self.log.batch(thread_id, owner, [Event(STARTUP_STATUS, {"threadId": thread_id, **params})])]
            )
        except redis.RedisError as error:
            logger.warning("Redis unreachable, status of an MCP server not published: %s", error)

    def _listen(self) -> None:
        """Deliver stop requests to running turns and terminals, and messages to running calls and terminals."""
        channel = worker_channel(self.name)
        client = self._connect(
            self.config.redis_url,
            socket_timeout=2 * PING_SECONDS,
            socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
            health_check_interval=PING_SECONDS,
        )
        is_away = False
        while True:
            try:
                pubsub = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
                pubsub.subscribe(TURN_SIGNALS_CHANNEL, channel)
                if is_away:
                    logger.info("connected to Redis again, signals arrive")
                is_away = False
                while True:
                    message = pubsub.get_message(timeout=PING_SECONDS)
                    if message is None:
                        if pubsub.health_check_response_counter > 1:
                            raise redis.ConnectionError("Redis did not answer a ping")
                        continue
                    if message["channel"] == channel.encode():
                        self._deliver(message["data"])
                        continue
                    name, subject_id = turn_signals.parse(message["data"])
                    signal = self.running.get(subject_id)
                    if name == turn_signals.STOP_TERMINAL:
                        self.terminals.stop(subject_id)
                    elif signal is not None and name == turn_signals.REQUEUED:
                        self.journal.renew_leases()
                    elif name == turn_signals.RELOAD_MCP:
                        self._reload_mcp(subject_id)
                    elif signal is not None and name in STOP_REASONS:
                        signal.request(STOP_REASONS[name])
            except redis.RedisError as error:
                if not is_away:
                    logger.warning("connection to Redis lost, subscribing to signals until it answers: %s", error)
                is_away = True
            except Exception:  # the thread must live
                logger.exception("signal not delivered, subscribing again")
            time.sleep(LISTEN_AGAIN_SECONDS)

    def _deliver(self, payload: bytes) -> None:
        """Deliver a message from this process's own channel."""
        subject_id, what, value = worker_calls.parse(payload)
        if what == terminal_input.TYPE:
            self.terminals.handle_message(subject_id, TerminalInput(*value))
        else:
            self.calls.handle_message(subject_id, what, value)
