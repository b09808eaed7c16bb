"""Reports this worker process to the database, so that operators see that it lives and what it lacks."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

from sqlalchemy.exc import SQLAlchemyError

from shared.errors import ThreadhouseError
from shared.store.workers import Worker
from workers.runner import host
from workers.services import Services

REPORT_SECONDS = 5.0  # between two reports
CHECK_SECONDS = 15.0  # between two looks at what commands need
SILENT_SECONDS = 10.0  # after which a tool runner that does not answer such a look is a problem

logger = logging.getLogger(__name__)


class Reporter:
    """The thread that reports until the process ends.

    queues: names of the queues that this process takes tasks from
    """

    def __init__(self, services: Services, queues: Sequence[str]) -> None:
        self._services = services
        self._worker = Worker(
            name=services.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version("threadhouse"),
            queues=sorted(queues),
            slots=services.config.server.worker_concurrency,
        )
        self._problem: str | None = None  # as of the last look
        self._looking_since: float | None = None  # in monotonic seconds
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._look = threading.Thread(target=self._look_again, name="command check", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._look.start()

    def report_soon(self) -> None:
        """Report at once, because something has changed."""
        self._wake.set()

    def stop(self, timeout_seconds: float) -> None:
        """Forget this process in the database; if that fails, its row soon counts as lost."""
        self._stopped.set()
        self._wake.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            try:
                self.report()
            except SQLAlchemyError as error:
                logger.warning("worker not reported, retrying: %s", type(error).__name__)
            except Exception:  # the thread must live
                logger.exception("worker not reported, retrying")
            if not self._stopped.is_set():
                self._wake.wait(REPORT_SECONDS)
        try:
            self._services.store.workers.remove(self._worker.name)
        except SQLAlchemyError as error:
            logger.warning("worker not removed: %s", type(error).__name__)

    def report(self) -> None:
        """Store that this process lives. Errors: those of the database."""
        problem, since = self._problem, self._looking_since
        if since is not None and time.monotonic() - since > SILENT_SECONDS:
            problem = "the tool runner does not answer"
        if problem and problem != self._worker.problem:
            logger.error("commands cannot run here: %s", problem)
        elif self._worker.problem and not problem:
            logger.info("commands can run here again")
        self._worker = replace(self._worker, draining=self._services.draining.is_set(), problem=problem)
        self._services.store.workers.report(self._worker)

    def _look_again(self) -> None:
        """Find out again and again whether commands can run here. A runner that hangs holds up this thread alone."""
        while not self._stopped.is_set():
            self._looking_since = time.monotonic()
            try:
                facts = host.facts(self._services.config.server.workspaces_dir)
                self._problem = facts["sandbox"] or facts["workspaces"]
            except (ThreadhouseError, OSError) as error:
                self._problem = str(error)
            except Exception:  # the thread must live
                logger.exception("commands not checked, retrying")
            self._looking_since = None
            self._stopped.wait(CHECK_SECONDS)
