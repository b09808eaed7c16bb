"""feedback.process: a report is collected, redacted and delivered to each sink, or retried later."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from shared.config.feedback import FeedbackSettings
from shared.config.webhooks import Webhook
from shared.logs import turn_logs
from shared.store.feedback import Report
from shared.store.tables import feedback
from tests.workers.builders import Bench
from workers.services import Services
from workers.tasks import process_feedback

CANARY = "sk-canary-0123456789abcdefghij"
HOOK = Webhook("https://hooks.example/in", "whsec_" + "QUFB" * 10)


def open_with(open_bench: Callable[..., Bench], directory: Path, **settings: Any) -> Bench:
    sinks = ("database", "directory", "webhook")
    return open_bench(feedback=FeedbackSettings(directory, **{"sinks": sinks, **settings}), webhooks=(HOOK,))


def report(services: Services, thread_id: str | None, **given: Any) -> Report:
    defaults = {"classification": "bug", "reason": "slow", "tags": {}, "include_logs": True, "per_day": 0}
    return services.store.feedback.create("local", thread_id=thread_id, **{**defaults, **given})


def status(services: Services, made: Report) -> tuple[str, str | None]:
    now = services.store.feedback.get(made.id, "local")
    return now.status, now.error


def test_report_has_rollout_and_server_log_without_secrets(open_bench: Callable[..., Bench], tmp_path: Path) -> None:
    bench = open_with(open_bench, tmp_path / "reports")
    services = bench.workers[0]
    thread = bench.thread()
    turn = bench.run_turn(thread, f"[[say Your key: {CANARY}.]] [[run echo password=hunter2]]")
    handler = turn_logs.TurnLogHandler(services.redis)
    record = logging.makeLogRecord({"msg": f"hello {CANARY}", "levelno": 20, "turn_id": turn.id})
    handler.emit(record)
    handler.flush()
    made = report(services, thread.id)

    process_feedback.run(services)

    file = tmp_path / "reports" / f"{made.id}.json"
    content = json.loads(file.read_text())
    assert content == services.store.feedback.all_users_content(made.id)
    assert file.stat().st_mode & 0o777 == 0o600
    assert CANARY not in file.read_text()
    assert "hunter2" not in file.read_text()
    assert "Your key: [REDACTED]" in json.dumps(content["rollout"])
    assert content["rolloutIsCut"] is False
    [line] = [line for line in content["serverLog"] if "hello" in line]
    assert line.split()[-3:] == ["hello", "[REDACTED]", f"turn_id={turn.id}"]
    assert status(services, made) == ("delivered", None)


def test_report_has_no_logs_without_the_authors_consent(open_bench: Callable[..., Bench], tmp_path: Path) -> None:
    bench = open_with(open_bench, tmp_path)
    services, thread = bench.workers[0], bench.thread()
    bench.run_turn(thread, "[[say Hello.]]")
    made = report(services, thread.id, include_logs=False)

    process_feedback.run(services)

    assert "rollout" not in json.loads((tmp_path / f"{made.id}.json").read_text())


def test_only_what_fits_is_kept_while_a_rollout_is_read() -> None:
    kept, cut = process_feedback.newest(iter([b"meta", b"1" * 6, b"2" * 3, b"3" * 3]), 10)

    assert (kept, cut) == ([b"meta", b"2" * 3, b"3" * 3], True)
    assert process_feedback.newest(iter([b"meta", b"1"]), 10) == ([b"meta", b"1"], False)


def test_long_rollout_is_cut_and_marked(open_bench: Callable[..., Bench], tmp_path: Path) -> None:
    bench = open_with(open_bench, tmp_path, max_log_bytes=20_000)
    services, thread = bench.workers[0], bench.thread()
    bench.run_turn(thread, f"[[say {'x' * 9000}]]")
    bench.run_turn(thread, f"[[say {'y' * 9000}]]")
    made = report(services, thread.id)

    process_feedback.run(services)

    content = json.loads((tmp_path / f"{made.id}.json").read_text())
    assert content["rolloutIsCut"] is True
    assert content["rollout"][0]["type"] == "session_meta"
    assert content["rollout"][-1]["payload"]["type"] == "task_complete"
    assert len(json.dumps(content["rollout"])) < 25_000


def test_failing_sink_is_retried_and_then_the_report_fails(open_bench: Callable[..., Bench], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    bench = open_with(open_bench, tmp_path / "taken", retry_seconds=(3600.0,))
    services = bench.workers[0]
    made = report(services, None)

    process_feedback.run(services)

    assert status(services, made) == ("processing", "the report could not be written: File exists")
    with services.store.database.write() as connection:
        connection.execute(update(feedback).values(due_at_ms=0))
    process_feedback.run(services)
    assert status(services, made) == ("failed", "the report could not be written: File exists")
    assert services.store.feedback.all_users_content(made.id) is None
    (tmp_path / "taken").unlink()
    services.store.feedback.all_users_retry(made.id)
    process_feedback.run(services)
    assert status(services, made) == ("delivered", None)
    with services.store.database.read() as connection:
        assert connection.scalar(select(feedback.c.attempts)) == 1


@pytest.mark.parametrize("lost", [None, "thread"])
def test_report_without_a_thread_or_with_a_deleted_one_is_delivered(
    open_bench: Callable[..., Bench], tmp_path: Path, lost: str | None
) -> None:
    services = open_with(open_bench, tmp_path).workers[0]
    made = report(services, lost)

    process_feedback.run(services)

    assert json.loads((tmp_path / f"{made.id}.json").read_text())["reason"] == "slow"
