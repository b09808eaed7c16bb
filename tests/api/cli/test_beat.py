"""The scheduler in a thread of a worker. What schedulers do is in tests/chaos/test_beat.py."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from queue import SimpleQueue
from threading import Event

import pytest
from celery.beat import Service

from api.cli import beat
from shared.config import load
from shared.queue import make_celery


def test_a_scheduler_that_fails_ends_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: SimpleQueue[tuple[int, int]] = SimpleQueue()

    def fail(_: Service) -> None:
        raise LookupError

    monkeypatch.setattr(Service, "start", fail)
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.put((pid, number)))
    config = load(tmp_path, {})
    failed = Event()
    beat.start_in_thread(make_celery(config.redis_url), config, failed.set)
    assert sent.get(timeout=60) == (os.getpid(), signal.SIGTERM)
    assert failed.is_set()
