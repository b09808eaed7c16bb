"""threadhouse web: the API, served by gunicorn with gevent.

This module must not import what gevent patches (redis, sqlalchemy, urllib3, the application): gunicorn's worker
process patches after the fork and loads the application then.
"""

from __future__ import annotations

import dataclasses
import gc
import logging
import math
import os
import resource
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from api.access.capacity import CONNECTIONS
from api.cli import child
from api.cli.host import is_loopback
from api.cli.loading import collector_off
from api.cli.options import certfile_option, check_tls, home_option, keyfile_option, log_format_option
from shared import config as configuration
from shared.config import Config
from shared.errors import ConfigError, ThreadhouseError
from shared.logs.fields import format_handlers, line_formatter

if TYPE_CHECKING:
    from flask import Flask

BACKLOG = 4_096  # connections that wait to be accepted: after a restart all clients reconnect at once
CLOSE_SECONDS = 2  # after [server] drain_seconds, for clients to close their side of a connection
TELEMETRY_SECONDS = 7  # after that, for a process to end and to send the telemetry that it has buffered
UNACKNOWLEDGED_MS = 120_000  # after which a peer that acknowledges or reads nothing is dropped
SILENCE_SECONDS = 60  # a process whose event loop is blocked for longer is replaced


@click.command()
@home_option
@log_format_option
@click.option("--host", help="Address to listen on (default: [server] host, else 127.0.0.1).")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on (default: [server] port, else 8765).")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of API processes that share the port.",
)
@certfile_option
@keyfile_option
def web(host: str | None, port: int | None, workers: int, certfile: str | None, keyfile: str | None) -> None:
    """Serve the API: WebSocket, HTTP and console."""
    config = configuration.load(None, os.environ)
    server = dataclasses.replace(config.server, host=host or config.server.host, port=port or config.server.port)
    _serve(dataclasses.replace(config, server=server), workers, check_tls(certfile, keyfile))


def _serve(config: Config, workers: int, tls: dict[str, str]) -> None:
    from gunicorn.app.base import BaseApplication
    from gunicorn.errors import AppImportError
    from gunicorn.glogging import Logger

    # gunicorn logs starts and ends of processes to stderr; our own loggers write to the same place.
    formatter = line_formatter(config.server.log_format, "web")
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler])
    for ours in ("api", "shared"):
        logging.getLogger(ours).setLevel(config.server.log_level.upper())

    class Log(Logger):  # type: ignore[misc]
        def setup(self, cfg: object) -> None:
            super().setup(cfg)
            format_handlers(self.error_log, formatter)

    class Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
        def load_config(self) -> None:
            for name, value in {**_settings(config, workers), **tls, "logger_class": Log}.items():
                self.cfg.set(name, value)

        def load(self) -> Flask:
            try:
                with collector_off():
                    from api.app import create_app

                    _require_users_or_loopback(config)
                    return create_app(config)
            except ThreadhouseError as error:
                raise AppImportError(str(error)) from error  # gunicorn prints this error in one line and stops

    # Every connection needs a file descriptor, and the soft limit is often 1024.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Application().run()


def _require_users_or_loopback(config: Config) -> None:
    """Refuse to serve other machines without users, because then every request acts as the local user.

    Errors: ConfigError
    """
    from shared.store import Store

    if config.auth is not None or is_loopback(config.server.host):
        return
    store = Store(config.database_url)
    try:
        if not store.users.exist():
            raise ConfigError(
                f"{config.server.host} is reachable from other machines, and there are no users yet: "
                "run `threadhouse users add NAME` and `threadhouse keys create NAME`, or listen on 127.0.0.1"
            )
    finally:
        store.close()


def _settings(config: Config, workers: int) -> Mapping[str, object]:
    host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
    graceful_seconds = config.server.drain_seconds + CLOSE_SECONDS
    return {
        "bind": f"{host}:{config.server.port}",
        "worker_class": "gevent",
        "workers": workers,
        "worker_connections": CONNECTIONS,
        "backlog": BACKLOG,
        "graceful_timeout": math.ceil(graceful_seconds + TELEMETRY_SECONDS),  # then gunicorn kills its workers
        "timeout": SILENCE_SECONDS,
        "loglevel": config.server.log_level,
        "proc_name": "threadhouse-web",
        "forwarder_headers": "",  # no request header may change the path (SCRIPT_NAME)
        "control_socket_disable": True,  # its path would be the same for every server of this user
        "pre_fork": lambda arbiter, worker: gc.freeze(),  # a collection would copy the pages that they share
        "post_fork": lambda arbiter, worker: _begin_worker(arbiter, worker, math.ceil(graceful_seconds)),
        "worker_exit": lambda arbiter, worker: _end_worker(),
    }


def _begin_worker(arbiter: Any, worker: Any, graceful_seconds: int) -> None:
    child.die_with(arbiter.pid)
    for listener in worker.sockets:  # every connection that it accepts has the same options
        drop_silent_peers(listener.sock)
    worker.cfg.set("graceful_timeout", graceful_seconds)
    stop = worker.handle_exit

    def drain(number: int, frame: object) -> None:
        """Handle SIGTERM: the process accepts no more connections and ends once those that it has are over."""
        stop(number, frame)
        if worker.wsgi is not None:
            import gevent

            from api.app import DRAIN

            gevent.spawn(worker.wsgi.extensions[DRAIN].run)  # a signal handler must not wait

    worker.handle_exit = drain


def drop_silent_peers(listener: socket.socket) -> None:
    """Have the kernel end connections whose peer is gone, or reads nothing for UNACKNOWLEDGED_MS."""
    if listener.family in (socket.AF_INET, socket.AF_INET6):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)


def _end_worker() -> None:
    from shared import telemetry

    telemetry.stop()
