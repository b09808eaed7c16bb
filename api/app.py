"""Build what one API process holds, and register its routes. Nothing connects before the first request."""

from __future__ import annotations

from flask import Flask
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry
from sqlalchemy.engine import make_url
from werkzeug.middleware.proxy_fix import ProxyFix

from api.access.auth import Auth
from api.access.limits import RequestLimits
from api.console import routes as console
from api.delivery.channels import PING_SECONDS
from api.delivery.relay import Relay
from api.documentation import openapi
from api.requests.services import Services
from api.transport import http, oauth_callback, websocket, workspace_routes
from api.transport.credential_watch import CredentialWatch
from api.transport.drain import Drain
from shared import redis_clients, telemetry
from shared.config import Config
from shared.config.feedback import redaction
from shared.events import durable_events
from shared.events.log import EventLog
from shared.logs import log_redaction, turn_logs
from shared.queue import Queue, make_celery
from shared.store import Store
from shared.store.connection import Database

REDIS_SECONDS = 5.0  # time-out of a connect and of each answer
LISTENER_SECONDS = 20.0  # time-out of the pub/sub listener: more than the silence after which it sends a ping
ANSWER_SECONDS = 8.0  # for which a request waits for one answer of Postgres
POOL_SECONDS = 2.0  # for which requests wait for a full pool while no connection comes back; then they are refused
DRAIN = "threadhouse.drain"  # in Flask.extensions: the Drain, which api.cli.web runs
REDIS_RETRIES = 2  # of a command; the event log appends a repeated batch only once


def create_app(config: Config) -> Flask:
    """Return the WSGI application of one API process, with telemetry and log redaction started."""
    telemetry.start(config, "api")
    services = make_services(config)
    log_redaction.install(services.redaction)
    turn_logs.install(services.redis)
    app = make_app(services)
    telemetry.watch_flask(app)
    return app


def make_services(config: Config) -> Services:
    """Return what one API process holds."""
    commands = redis_clients.connect(
        config.redis_url,
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), REDIS_RETRIES),
    )
    # No retries by redis-py: the listener must notice every gap in which messages may have been missed.
    listener = redis_clients.connect(
        config.redis_url,
        socket_timeout=LISTENER_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
        health_check_interval=PING_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    store = Store(config.database_url, config.listeners, _open_database, workspaces_dir=config.server.workspaces_dir)
    telemetry.watch_engine(store.database.engine)
    log = EventLog(commands, max_entries=config.server.event_log_length, max_bytes=config.server.event_log_bytes)

    def republish_turn(owner: str, turn_id: str) -> None:
        turn = store.turns.get(turn_id, owner)
        if turn.done:
            durable_events.publish_missing(store, log, turn)

    relay = Relay(listener, commands, log, republish_turn)
    celery = make_celery(config.redis_url)
    telemetry.watch_celery(celery)
    telemetry.observe("threadhouse.connections", lambda: [(relay.connections(), {})])
    limits = RequestLimits(commands, store, config.limits)
    return Services(config, store, commands, log, Queue(celery, commands), relay, limits, redaction(config))


def _open_database(url: str) -> Database:
    if make_url(url).get_backend_name() == "sqlite" and _is_gevent():
        from api.offloaded_sqlite import OffloadedDatabase  # gevent's threads belong to a process that it has patched

        return OffloadedDatabase(url)
    return Database(url, answer_seconds=ANSWER_SECONDS, pool_timeout=POOL_SECONDS)


def _is_gevent() -> bool:
    """Whether gevent has replaced the sockets of this process."""
    from gevent import monkey

    return bool(monkey.is_module_patched("socket"))


def make_app(services: Services) -> Flask:
    """Return the application for the given services."""
    app = Flask("threadhouse", static_folder=None)
    auth = Auth(services.config, services.store)
    watch = CredentialWatch(auth)
    drain = app.extensions[DRAIN] = Drain(watch, services.config.server.drain_seconds)
    websocket.register(app, services, auth, watch, drain)
    http.register(app, services, auth, watch, drain)
    workspace_routes.register(app, services, auth)
    oauth_callback.register(app, services, auth)
    openapi.register(app, auth)
    console.register(app, services, auth)
    if auth.provider is not None:
        from api.console import oidc_routes  # imports cryptography, which takes a while

        oidc_routes.register(app, services, auth)
    if services.config.server.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=services.config.server.proxies)  # type: ignore[method-assign]
    return app
