"""The fields of log lines."""

from __future__ import annotations

import logging

from shared.logs.fields import FieldFormatter


def line(**extra: object) -> str:
    record = logging.getLogger("workers.test").makeRecord(
        "workers.test", logging.INFO, "file.py", 1, "turn %s", ("claimed",), None, extra=extra
    )
    return FieldFormatter("%(levelname)s %(message)s").format(record)


def test_ids_follow_the_message_in_one_order() -> None:
    assert line(claim_no=3, turn_id="t1", thread_id="th1") == "INFO turn claimed thread_id=th1 turn_id=t1 claim_no=3"


def test_a_line_without_fields_ends_with_its_message() -> None:
    assert line(turn_id=None) == "INFO turn claimed"


def test_other_fields_are_not_printed() -> None:
    assert line(text="of a user", turn_id="t1") == "INFO turn claimed turn_id=t1"
