"""threadhouse worker: a Celery worker process that runs turns, calls and background jobs."""

from __future__ import annotations

import importlib
import ipaddress
import os
from pathlib import Path

import click

from api.cli.options import home_option
from shared import config as configuration
from shared.config import Config
from shared.errors import ConfigError

TURN_QUEUES = "turns,calls"


@click.command()
@home_option
@click.option("--queues", default=TURN_QUEUES, show_default=True, metavar="NAME,…", help="Queues to serve.")
@click.option("--ready-file", type=click.Path(path_type=Path), help="File to make once the queues are being served.")
def worker(queues: str, ready_file: Path | None) -> None:
    """Run turns: one process per core; any number of hosts."""
    from celery.signals import worker_ready

    config = configuration.load(None, os.environ)
    refuse_root(config)

    def announce(**_: object) -> None:
        if ready_file is not None:
            ready_file.touch()

    worker_ready.connect(announce, weak=False)
    # Named, not imported: no other command loads anything of workers/. And loaded by us: `celery -A` would look in the
    # current folder first, which is somebody's project.
    app = importlib.import_module("workers.app").app
    app.worker_main(
        [
            "worker",
            *("--pool", "threads", "--concurrency", str(config.server.worker_concurrency)),
            *("--queues", queues, "--hostname", f"worker-{os.getpid()}@%h", "--loglevel", config.server.log_level),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ]
    )


def refuse_root(config: Config) -> None:
    """Errors: ConfigError, where commands of others would run as root, one bug of the sandbox away from the host."""
    from shared.store import Store

    if os.geteuid() != 0 or config.server.dangerously_run_as_root:
        return
    store = Store(config.database_url)
    try:
        if config.auth is None and is_loopback(config.server.host) and not store.users.exist():
            return
    finally:
        store.close()
    raise ConfigError(
        "this server has users or is reachable from other machines, and workers of such a server do not run as root: "
        "start it as a user of its own (`useradd --system threadhouse`, and give it the folder THREADHOUSE_HOME)"
    )


def is_loopback(host: str) -> bool:
    return host == "localhost" or ipaddress.ip_address(host).is_loopback
