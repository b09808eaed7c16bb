"""The fields of log lines."""

from __future__ import annotations

import json
import logging
import sys

from shared.logs.fields import FieldFormatter, line_formatter


def line(**extra: object) -> str:
    record = logging.getLogger("workers.test").makeRecord(
        "workers.test", logging.INFO, "file.py", 1, "turn %s", ("claimed",), None, extra=extra
    )
    return FieldFormatter("%(levelname)s %(message)s").format(record)


def test_ids_follow_the_message_in_one_order() -> None:
    assert line(claim_no=3, turn_id="t1", thread_id="th1") == "INFO turn claimed thread_id=th1 turn_id=t1 claim_no=3"


def test_a_line_without_fields_ends_with_its_message() -> None:
    assert line(turn_id=None) == "INFO turn claimed"


def test_text_lines_begin_with_time_level_and_process() -> None:
    record = logging.makeLogRecord({"msg": "turn claimed", "levelname": "INFO", "created": 1.5, "msecs": 500.0})
    record.process, record.turn_id = 7, "t1"

    printed = line_formatter("text", "worker").format(record)

    assert printed == "1970-01-01T00:00:01.500Z INFO worker[7] turn claimed turn_id=t1"


def test_a_json_line_has_the_fields_and_the_exception_and_nothing_else() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        record = logging.makeLogRecord({"msg": "turn %s", "args": ("failed",), "exc_info": sys.exc_info()})
    record.turn_id, record.text = "t1", "of a user"

    printed = line_formatter("json", "worker").format(record)

    line = json.loads(printed)
    assert "\n" not in printed
    assert (line["event"], line["turn_id"], line["process"]) == ("turn failed", "t1", "worker")
    assert line["exception"].endswith("ValueError: broken")
    assert "text" not in line


def test_other_fields_are_not_printed() -> None:
    assert line(text="of a user", turn_id="t1") == "INFO turn claimed turn_id=t1"
