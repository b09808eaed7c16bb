"""Recent log lines of threads and turns."""

from __future__ import annotations

import logging

import fakeredis

from shared.logs import turn_logs
from shared.logs.turn_logs import MAX_CHARACTERS, MAX_LINES, TurnLogHandler


def log(handler: TurnLogHandler, message: str, **fields: str) -> None:
    record = logging.LogRecord("workers.x", logging.INFO, __file__, 1, message, None, None)
    record.__dict__ |= fields
    handler.emit(record)


def test_lines_are_kept_by_turn_or_else_by_thread() -> None:
    redis = fakeredis.FakeRedis()
    handler = TurnLogHandler(redis)
    log(handler, "of a turn", turn_id="U", thread_id="T")
    log(handler, "of a thread", thread_id="T")
    log(handler, "of neither")

    handler.flush()

    assert {line.rpartition(" workers.x ")[2] for line in turn_logs.read(redis, ["T"])} == {"of a thread thread_id=T"}
    lines = turn_logs.read(redis, ["T", "U"])
    assert {line.rpartition(" workers.x ")[2] for line in lines} == {
        "of a turn thread_id=T turn_id=U",
        "of a thread thread_id=T",
    }
    assert lines == sorted(lines)


def test_only_the_newest_lines_are_kept_and_long_ones_are_cut() -> None:
    redis = fakeredis.FakeRedis()
    handler = TurnLogHandler(redis)
    for number in range(MAX_LINES + 1):
        log(handler, f"line {number} " + "x" * MAX_CHARACTERS, turn_id="U")
        handler.flush()

    lines = turn_logs.read(redis, ["U"])
    assert len(lines) == MAX_LINES
    assert not any("line 0 " in line for line in lines)
    assert {len(line) for line in lines} == {MAX_CHARACTERS}


def test_the_error_of_the_last_model_call_is_found_in_the_lines_of_a_turn() -> None:
    failed = "2026-11-28 10:00:00 WARNING workers.agent.model_calls model call failed, retrying: serverOverloaded"
    answered = "2026-11-28 10:00:01 INFO workers.agent.model_calls model answered duration_ms=7"

    assert turn_logs.failed_call([answered, failed, "2026-11-28 10:00:02 INFO something else"]) == "serverOverloaded"
    assert turn_logs.failed_call([failed, answered]) == turn_logs.failed_call([]) == ""
