"""`threadhouse worker` says by its status whether a supervisor must start it again."""

from __future__ import annotations

import pytest
from celery.signals import worker_init
from click.testing import CliRunner

from api.cli import commands
from workers.app import app


class Worker:
    """A worker that has ended."""

    def __init__(self, exitcode: int | None) -> None:
        self.exitcode = exitcode


@pytest.mark.parametrize(("celery_status", "status"), [(None, 0), (0, 0), (1, 1)])
def test_status_is_that_of_celery(monkeypatch: pytest.MonkeyPatch, celery_status: int | None, status: int) -> None:
    worker = Worker(celery_status)
    monkeypatch.setattr("api.cli.worker.refuse_root", lambda _: None)
    monkeypatch.setattr(worker_init, "receivers", [])  # those of workers.app start threads
    monkeypatch.setattr(app, "worker_main", lambda _: worker_init.send(worker))

    assert CliRunner().invoke(commands, ["worker"]).exit_code == status
