"""What `celery -A workers.app` loads: the tasks, and what happens when the process starts and ends."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from celery import signals

from shared import log_redaction, telemetry, turn_logs
from shared.config import load
from shared.errors import SandboxUnavailable
from shared.feedback import redaction
from shared.queue import (
    DELIVER,
    ERASE,
    MAKE_WORKSPACE,
    PROCESS_FEEDBACK,
    RUN_CALL,
    RUN_TURN,
    SWEEP_RETENTION,
    WRITE_SESSION,
    make_celery,
)
from workers.agent import faults
from workers.agent.sweep import Sweep
from workers.runner.hardening import forbid_looking
from workers.sandbox import runner
from workers.services import Services
from workers.tasks import (
    deliver_notify,
    erase,
    make_workspace,
    process_feedback,
    run_call,
    run_turn,
    sweep_retention,
    write_session,
)

STOP_SECONDS = 5.0  # for what is left to store and publish

logger = logging.getLogger(__name__)

config = load(None, os.environ)
app = make_celery(config.redis_url)
_process: tuple[Services, Sweep] | None = None


@app.task(name=RUN_TURN)  # type: ignore[untyped-decorator]
def run_turn_task(turn_id: str) -> None:
    """turn_id is for the trace only: the claim decides which turn runs."""
    run_turn.run(services())


@app.task(name=RUN_CALL)  # type: ignore[untyped-decorator]
def run_call_task(call_id: str, kind: str, params: dict[str, Any], owner: str) -> None:
    run_call.run(services(), call_id, kind, params, owner)


@app.task(name=PROCESS_FEEDBACK)  # type: ignore[untyped-decorator]
def process_feedback_task(report_id: str) -> None:
    """report_id is for the trace only: the claim decides which report is taken."""
    process_feedback.run(services())


@app.task(name=SWEEP_RETENTION)  # type: ignore[untyped-decorator]
def sweep_retention_task() -> None:
    sweep_retention.run(services())


@app.task(name=ERASE)  # type: ignore[untyped-decorator]
def erase_task() -> None:
    erase.run(services())


@app.task(name=WRITE_SESSION)  # type: ignore[untyped-decorator]
def write_session_task(thread_id: str) -> None:
    write_session.run(services(), thread_id)


@app.task(name=DELIVER)  # type: ignore[untyped-decorator]
def deliver_notify_task() -> None:
    deliver_notify.run(services())


@app.task(name=MAKE_WORKSPACE)  # type: ignore[untyped-decorator]
def make_workspace_task(thread_id: str, owner: str) -> None:
    make_workspace.run(services(), thread_id, owner)


def services() -> Services:
    """What this process holds; there once the worker is ready."""
    assert _process is not None
    return _process[0]


@signals.worker_init.connect  # type: ignore[untyped-decorator]
def start(**_: Any) -> None:
    """Before the first task."""
    global _process
    log_redaction.install(redaction(config))
    faults.arm(os.environ.get("THREADHOUSE_FAULT"))
    forbid_looking()
    runner.use(config.server.tool_runner)
    try:
        runner.connect().close()  # so that the first command finds it started
    except SandboxUnavailable as error:
        logger.error("%s", error)
    telemetry.start(config, "worker")
    telemetry.watch_celery(app)
    held = Services(config, app)
    telemetry.watch_engine(held.store.database.engine)
    sweep = Sweep(held)
    _process = (held, sweep)
    turn_logs.install(held.redis)
    held.start()
    sweep.start()


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def drain(**_: Any) -> None:
    """SIGTERM or SIGINT. Called inside a signal handler, so the work is another thread's."""
    if _process is not None:
        threading.Thread(target=_process[0].drain, name="drain").start()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def stop(**_: Any) -> None:
    """All tasks have ended."""
    if _process is not None:
        held, sweep = _process
        sweep.stop()
        held.journal.stop(STOP_SECONDS)
        held.store.close()
    telemetry.stop()
