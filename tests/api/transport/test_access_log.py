"""One line for each request, and a bound for each user."""

from __future__ import annotations

import logging

import pytest

from api.transport import access_log
from api.transport.access_log import LINES_PER_SECOND, AccessLog


def test_lines_beyond_a_users_share_are_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    log, now = AccessLog(), [100.0]
    monkeypatch.setattr(access_log.time, "monotonic", lambda: now[0])
    for _ in range(LINES_PER_SECOND + 7):
        log.add("thread/list", "eve", "ok", 1)
    log.add("thread/list", "ada", "ok", 1)
    users = [record.__dict__["user_id"] for record in caplog.records]
    assert users == ["eve"] * LINES_PER_SECOND + ["ada"]

    caplog.clear()
    now[0] += 1
    log.add("thread/list", "eve", "ok", 1)

    assert [record.message for record in caplog.records] == ["7 requests of one second not logged", "request handled"]
