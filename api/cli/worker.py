"""threadhouse worker: a Celery worker process, which runs turns, worker calls and background jobs."""

from __future__ import annotations

import fcntl
import importlib
import logging
import os
import socket
import sys
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import click

from api.cli.host import SCHEMA_OUT_OF_DATE, is_loopback
from api.cli.loading import collector_off
from api.cli.options import home_option, log_format_option
from shared import config as configuration
from shared.config import Config
from shared.errors import ConfigError

TURN_QUEUES = "turns,calls"
TOUCH_SECONDS = 5.0  # between two touches of the ready file

logger = logging.getLogger(__name__)
_locked_name_file: IO[str] | None = None  # kept open, because the lock ends when it is closed


@click.command()
@home_option
@log_format_option
@click.option(
    "--queues", default=TURN_QUEUES, show_default=True, metavar="NAME,…", help="Queues to serve, comma-separated."
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"File to create when the worker is ready to take tasks, and to touch every {TOUCH_SECONDS:g} s from then on. "
    "A worker that replaces one that was killed, with the same FILE, continues its turns at once.",
)
@click.option(
    "--beat",
    "runs_beat",
    is_flag=True,
    help="Also run the scheduler, as `threadhouse beat` does. Of any number, one schedules and the others stand by.",
)
def worker(queues: str, ready_file: Path | None, *, runs_beat: bool) -> None:
    """Run turns. Start one process per core, on any number of hosts.

    Exits with a status other than 0 when an error ended the worker, so that its supervisor starts it again.
    """
    from shared.queue import QUEUES  # imported late: `threadhouse --help` must not load Celery

    if unknown := sorted(set(queues.split(",")) - set(QUEUES)):
        raise ConfigError(f"--queues {','.join(unknown)}: there is no such queue; there are {', '.join(QUEUES)}")
    with collector_off():
        from celery.signals import worker_ready, worker_shutdown

        # Loaded by name, because nothing in api/ imports workers/. Not left to `celery -A`, which would look in the
        # current folder first, and that may be a user's project.
        workers_app = importlib.import_module("workers.app")
        app = workers_app.app
        from celery.exceptions import SecurityWarning
    config = configuration.load(None, os.environ)
    refuse_root(config)
    warnings.simplefilter("ignore", SecurityWarning)  # of Celery about root: `refuse_root` knows more

    def keep_ready_file(sender: Any, **_: object) -> None:
        if ready_file is not None:
            workers_app.replace_worker(_take_name_file(ready_file, workers_app.services().name))
            ready_file.touch()
            # A timer of the loop that takes tasks, and not a thread: the file gets old when that loop stands still.
            sender.timer.call_repeatedly(TOUCH_SECONDS, _touch, (ready_file,))

    if ready_file is not None:
        ready_file.unlink(missing_ok=True)  # an earlier process may have left it
    from celery.apps import worker as celery_worker

    celery_worker.safe_say = lambda *_: None  # "Warm shutdown" without time and level; "drain began" says it in the log
    beat_failed = threading.Event()

    def start_beat(**_: object) -> None:
        from api.cli import beat

        stop = beat.start_in_thread(app, config, beat_failed.set)
        worker_shutdown.connect(lambda **_: stop(), weak=False)

    worker_ready.connect(keep_ready_file, weak=False)
    if runs_beat:
        worker_ready.connect(start_beat, weak=False)
    # Not by app.worker_main(), which loads Celery's command line with a terminal editor: 13 MiB.
    process = app.Worker(
        hostname=f"worker-{os.getpid()}@{socket.gethostname()}",
        pool_cls="threads",
        concurrency=config.server.worker_concurrency,
        queues=queues,
        loglevel=config.server.log_level,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    process.start()
    sys.exit(1 if beat_failed.is_set() else process.exitcode)


def _take_name_file(ready_file: Path, name: str) -> str | None:
    """Write this worker's name beside its ready file, and keep that locked for as long as this process lives.

    Returns: the name of the worker that had the file before and has ended; None: there was none, or it may still run
    """
    global _locked_name_file
    path = ready_file.with_name(f"{ready_file.name}.worker")  # no supervisor removes it
    try:
        file = path.open("a+", errors="replace")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.seek(0)
        former = file.read()
        file.truncate(0)
        file.write(name)
        file.flush()
    except OSError as error:  # such as the lock of a worker that runs; its turns wait for their leases
        logger.warning("%s is not used, so turns of an earlier worker wait for their leases: %s", path, error)
        return None
    _locked_name_file = file
    # A lock is known within one kernel only.
    return former if former.rpartition(":")[0].rpartition(":")[0] == socket.gethostname() else None


def _touch(ready_file: Path) -> None:
    """Set the time of the file. It is not created: a supervisor removes it to wait for the next process."""
    with suppress(OSError):  # it would count as a lost connection to the queue
        os.utime(ready_file)


def refuse_root(config: Config) -> None:
    """Refuse to run as root where others can send commands: one bug of the sandbox would give them this host.

    Errors: ConfigError
    """
    from sqlalchemy.exc import ProgrammingError

    from shared.store import Store

    if os.geteuid() != 0 or config.server.dangerously_run_as_root:
        return
    store = Store(config.database_url)
    try:
        if config.auth is None and is_loopback(config.server.host) and not store.users.exist():
            return
    except ProgrammingError:
        raise ConfigError(SCHEMA_OUT_OF_DATE) from None
    finally:
        store.close()
    raise ConfigError(
        "workers do not run as root on a server that has users or is reachable from other machines: "
        "start it as another user (`useradd --system threadhouse`) who owns the folder THREADHOUSE_HOME"
    )
