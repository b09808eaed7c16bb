"""create_app: builds what an API process holds, and registers the routes. Nothing connects before the first request."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any, cast

import redis
from flask import Flask
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry
from werkzeug.middleware.proxy_fix import ProxyFix

from api import http, openapi, websocket, workspace_routes
from api.auth import Auth
from api.context import Services
from api.limits import UserLimits
from api.relay import Relay
from api.watch import Watch
from shared import announcements, log_redaction, telemetry, turn_logs
from shared.config import Config
from shared.events import EventLog
from shared.feedback import redaction
from shared.queue import Queue, make_celery
from shared.store import Store

REDIS_SECONDS = 5.0  # to connect, and for each answer; the listener alone waits for ever
REDIS_RETRIES = 2  # of a command; the event log takes a batch once, however often it is sent


def create_app(config: Config) -> Flask:
    """The WSGI application of one API process."""
    telemetry.start(config, "api")
    services = make_services(config)
    log_redaction.install(services.redaction)
    turn_logs.install(services.redis)
    app = make_app(services)
    telemetry.watch_flask(app)
    return app


def make_services(config: Config) -> Services:
    """What one API process holds."""
    commands = redis.Redis.from_url(
        config.redis_url,
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), REDIS_RETRIES),
    )
    # redis-py would retry behind our back, and a listener must know of every gap.
    listener = redis.Redis.from_url(
        config.redis_url,
        socket_timeout=None,
        socket_connect_timeout=REDIS_SECONDS,
        health_check_interval=10,
        retry=Retry(NoBackoff(), 0),
    )
    store = Store(config.database_url, config.listeners)
    telemetry.watch_engine(store.database.engine)
    if store.database.is_sqlite and _is_gevent():
        store = cast(Store, OffloadedStore(store))
    log = EventLog(commands, max_entries=config.server.event_log_length)
    relay = Relay(listener, commands, log, told_late=lambda thread_id, owner, turn_id: tell(owner, turn_id))

    def tell(owner: str, turn_id: str) -> None:
        turn = store.turns.get(turn_id, owner)
        if turn.done:
            announcements.announce(store, log, turn)

    celery = make_celery(config.redis_url)
    telemetry.watch_celery(celery)
    telemetry.observe("threadhouse.connections", lambda: [(relay.connections(), {})])
    limits = UserLimits(commands, store, config.limits)
    return Services(config, store, commands, log, Queue(celery), relay, limits, redaction(config))


def make_app(services: Services) -> Flask:
    """The application over given services."""
    app = Flask("threadhouse", static_folder=None)
    auth = Auth(services.config, services.store)
    watch = Watch(auth)
    websocket.register(app, services, auth, watch)
    http.register(app, services, auth, watch)
    workspace_routes.register(app, services, auth)
    openapi.register(app, auth)
    if services.config.server.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=services.config.server.proxies)  # type: ignore[method-assign]
    return app


def _is_gevent() -> bool:
    from gevent import monkey

    return bool(monkey.is_module_patched("socket"))


class OffloadedStore:
    """A Store over SQLite in a gevent process: its calls run in native threads, for SQLite waits for locks without
    letting other greenlets run."""

    def __init__(self, store: Store) -> None:
        for name, record in vars(store).items():
            if name != "database":
                setattr(self, name, Offloaded(record))
        self.commit = Offloaded(store).commit
        self.close = store.close


class Offloaded:
    """One record of the store, each call in a native thread."""

    def __init__(self, record: Any) -> None:
        self._record = record

    def __getattr__(self, name: str) -> Callable[..., Any]:
        import gevent

        method = getattr(self._record, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            value, error = gevent.get_hub().threadpool.apply(copy_context().run, (_attempt, method, args, kwargs))
            if error is not None:
                raise error
            return value

        return call


def _attempt(method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Exception | None]:
    """gevent would print what is raised in its threads."""
    try:
        return method(*args, **kwargs), None
    except Exception as error:  # noqa: BLE001 - raised again by the caller
        return None, error
