"""threadhouse web: the API, served by gunicorn with gevent.

Nothing here may import what gevent patches (redis, sqlalchemy, urllib3, the application): gunicorn's worker patches
after the fork and loads the application then.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
import os
import resource
from typing import TYPE_CHECKING, Any

import click

from api.cli import child
from api.cli.options import certfile_option, check_tls, home_option, keyfile_option
from shared import config as configuration
from shared.config import Config
from shared.errors import ConfigError, ThreadhouseError

if TYPE_CHECKING:
    from flask import Flask

CONNECTIONS = 5_000  # sockets and streams at once, per process
BACKLOG = 4_096  # connections that wait to be accepted: all clients come back at once after a restart
TELEMETRY_SECONDS = 7  # for a worker process to come to its end behind that, and to send what telemetry it holds
GRACE_SECONDS = 2  # what requests in flight get when the server stops; streams and sockets never end by themselves
SILENCE_SECONDS = 60  # a process whose event loop stands still for longer is replaced


@click.command()
@home_option
@click.option("--host", help="Address to listen on ([server] host, default 127.0.0.1).")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on ([server] port, default 8765).")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that share the port.")
@certfile_option
@keyfile_option
def web(host: str | None, port: int | None, workers: int, certfile: str | None, keyfile: str | None) -> None:
    """Serve the API: WebSocket, HTTP, console."""
    config = configuration.load(None, os.environ)
    server = dataclasses.replace(config.server, host=host or config.server.host, port=port or config.server.port)
    _serve(dataclasses.replace(config, server=server), workers, check_tls(certfile, keyfile))


def _serve(config: Config, workers: int, tls: dict[str, str]) -> None:
    from gunicorn.app.base import BaseApplication
    from gunicorn.errors import AppImportError

    # gunicorn's own loggers say what happens to processes; ours go to the same place.
    log_format = "[%(asctime)s] [%(process)d] [%(levelname)s] %(name)s: %(message)s"
    logging.basicConfig(format=log_format)
    for ours in ("api", "shared"):
        logging.getLogger(ours).setLevel(config.server.log_level.upper())

    class Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
        def load_config(self) -> None:
            for name, value in (_settings(config, workers) | tls).items():
                self.cfg.set(name, value)

        def load(self) -> Flask:
            try:
                _refuse_an_open_door(config)
                from api.app import create_app

                return create_app(config)
            except ThreadhouseError as error:
                raise AppImportError(str(error)) from error  # gunicorn says this one in a line, and stops

    # Every socket is a file; the soft limit is often 1024.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Application().run()


def _refuse_an_open_door(config: Config) -> None:
    """Without users every request is the local user's: then only this machine may send any."""
    from shared.store import Store

    if config.auth is not None or _is_this_machine(config.server.host):
        return
    store = Store(config.database_url)
    try:
        if not store.users.exist():
            raise ConfigError(
                f"{config.server.host} is not this machine alone, and there are no users yet: "
                "make one with `threadhouse users add NAME` and a key with `threadhouse keys create NAME`"
            )
    finally:
        store.close()


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _settings(config: Config, workers: int) -> dict[str, Any]:
    host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
    return {
        "bind": f"{host}:{config.server.port}",
        "worker_class": "gevent",
        "workers": workers,
        "worker_connections": CONNECTIONS,
        "backlog": BACKLOG,
        "graceful_timeout": GRACE_SECONDS + TELEMETRY_SECONDS,  # then gunicorn kills its workers
        "timeout": SILENCE_SECONDS,
        "loglevel": config.server.log_level,
        "proc_name": "threadhouse-web",
        "forwarder_headers": "",  # no header of a request stands for a part of the path
        "control_socket_disable": True,  # it would be one path for every server of this user
        "post_fork": _begin_worker,
        "worker_exit": lambda arbiter, worker: _end_worker(),
    }


def _begin_worker(arbiter: Any, worker: Any) -> None:
    child.die_with(arbiter.pid)
    worker.cfg.set("graceful_timeout", GRACE_SECONDS)


def _end_worker() -> None:
    from shared import telemetry

    telemetry.stop()
