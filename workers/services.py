"""What a worker process holds, built once from the configuration."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable

import redis
from celery import Celery

from shared import mailbox
from shared.calls import worker_channel
from shared.config import Config
from shared.events import EventLog
from shared.ids import new_id
from shared.queue import Queue
from shared.store import Store
from workers.agent.journal import Journal
from workers.agent.signal import Signal, Why
from workers.calls.running import RunningCalls

logger = logging.getLogger(__name__)

REDIS_TIMEOUT_SECONDS = 5
LISTEN_AGAIN_SECONDS = 0.5
WHYS = {mailbox.STEER: Why.STEER, mailbox.INTERRUPT: Why.INTERRUPT}


class Services:
    """One object a worker process. running: turn id → its signal, of the turns that run here."""

    def __init__(
        self, config: Config, celery: Celery, connect: Callable[..., redis.Redis] = redis.Redis.from_url
    ) -> None:
        """connect: (url, settings of a connection) → client of the Redis that holds logs and mailbox."""
        server = config.server
        self.config = config
        self.name = f"{socket.gethostname()}:{os.getpid()}:{new_id()[-12:]}"
        self.store = Store(config.database_url, config.listeners)
        self._connect = connect
        self.redis = connect(
            config.redis_url, socket_timeout=REDIS_TIMEOUT_SECONDS, socket_connect_timeout=REDIS_TIMEOUT_SECONDS
        )
        self.log = EventLog(self.redis, max_entries=server.event_log_length)
        self.queue = Queue(celery)
        self.journal = Journal(
            self.store,
            self.log,
            lease_seconds=server.lease_seconds,
            renewal_seconds=server.renewal_seconds,
            authority_seconds=server.authority_seconds,
        )
        self.calls = RunningCalls(self.redis, self.name)
        self.running: dict[str, Signal] = {}
        self.draining = threading.Event()
        self._lock = threading.Lock()
        self._listener = threading.Thread(target=self._listen, name="mailbox", daemon=True)

    def start(self) -> None:
        self.journal.start()
        self._listener.start()
        self.calls.start()

    def enter(self, turn_id: str, signal: Signal) -> None:
        """A turn begins to run here."""
        with self._lock:
            self.running[turn_id] = signal
            draining = self.draining.is_set()
        if draining:
            signal.call(Why.DRAIN)

    def leave(self, turn_id: str, signal: Signal) -> None:
        """A turn has left."""
        with self._lock:
            if self.running.get(turn_id) is signal:
                del self.running[turn_id]

    def drain(self) -> None:
        """Take no more turns; those that run hand over at their next boundary."""
        with self._lock:
            self.draining.set()
            signals = list(self.running.values())
        logger.info("draining", extra={"turns": len(signals)})
        for signal in signals:
            signal.call(Why.DRAIN)
        self.calls.drain()

    def _listen(self) -> None:
        """Pass on what turns and calls that run here have to hear."""
        channel = worker_channel(self.name)
        client = self._connect(self.config.redis_url, socket_timeout=None, health_check_interval=15)
        while True:
            try:
                pubsub = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
                pubsub.subscribe(mailbox.CHANNEL, channel)
                for message in pubsub.listen():
                    if message["channel"] == channel.encode():
                        self.calls.hear(message["data"])
                        continue
                    what, turn_id = mailbox.parse(message["data"])
                    signal = self.running.get(turn_id)
                    if signal is not None and what in WHYS:
                        signal.call(WHYS[what])
            except redis.RedisError as error:
                logger.warning("the mailbox is out of reach: %s", error)
            except Exception:  # the thread must live
                logger.exception("an announcement of the mailbox could not be passed on")
            time.sleep(LISTEN_AGAIN_SECONDS)
