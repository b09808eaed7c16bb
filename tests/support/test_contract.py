"""The contract reports frames that differ from the schemas, and streams in a wrong order."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import order
from tests.support.contract import RECORDINGS, Contract, Recording


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ({"id": 1, "result": {"data": 5}}, "result of thread/list: $.data: 5 is not of type 'array'"),
        ({"id": 1, "error": {"code": "x", "message": ""}}, "error reply: $.error.code: 'x' is not of type 'integer'"),
        ({"method": "turn/started", "params": {}}, "turn/started: $.params: 'threadId' is a required property"),
        ({"method": "turn/bogus", "params": {}}, "turn/bogus: not in the schema"),
        ({"method": "item/tool/call", "id": 0, "params": {}}, "item/tool/call: $.params: 'arguments' is a required"),
    ],
)
def test_a_frame_that_violates_the_schema_is_reported_once(
    contract: Contract | None, frame: dict[str, Any], expected: str
) -> None:
    if contract is None:
        pytest.skip("no schemas")
    recording = Recording(sent={1: "thread/list"}, received=[frame, frame])
    RECORDINGS.remove(recording)

    violations = contract.violations([recording])

    assert [violation.startswith(expected) for violation in violations[:1]] == [True], violations
    assert len(violations) == len(set(violations))


def test_a_valid_frame_with_additional_members_passes(contract: Contract | None) -> None:
    if contract is None:
        pytest.skip("no schemas")
    frame = {"id": 1, "result": {"data": [], "nextCursor": None}, "eventId": "1-1"}
    recording = Recording(sent={1: "thread/list"}, received=[frame])
    RECORDINGS.remove(recording)  # our own description requires more members than the original's schema

    assert contract.violations([recording]) == []


def test_the_order_of_a_recorded_stream_is_checked() -> None:
    recording = Recording(wired=True, sent={1: "thread/start"})
    RECORDINGS.remove(recording)
    recording.received += [
        {"id": 1, "result": {"thread": {"id": "T"}}},
        {"method": "turn/started", "params": {"threadId": "T", "turn": {"id": "U"}}},
    ]

    [stream] = recording.streams()

    with pytest.raises(AssertionError, match="before the thread is active"):
        order.check(stream)
