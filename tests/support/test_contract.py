"""The contract sees what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import order
from tests.support.contract import RECORDINGS, Contract, Recording


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        ({"id": 1, "result": {"data": 5}}, "result of thread/list: $.data: 5 is not of type 'array'"),
        ({"id": 1, "error": {"code": "x", "message": ""}}, "error reply: $.error.code: 'x' is not of type 'integer'"),
        ({"method": "turn/started", "params": {}}, "turn/started: $.params: 'threadId' is a required property"),
        ({"method": "turn/bogus", "params": {}}, "turn/bogus: not in the schema"),
        ({"method": "item/tool/call", "id": 0, "params": {}}, "item/tool/call: $.params: 'arguments' is a required"),
    ],
)
def test_a_frame_that_is_not_as_the_schema_says_is_told_once(
    contract: Contract | None, frame: dict[str, Any], told: str
) -> None:
    if contract is None:
        pytest.skip("no schemas")
    recording = Recording(sent={1: "thread/list"}, received=[frame, frame])
    RECORDINGS.remove(recording)

    violations = contract.violations([recording])

    assert [one.startswith(told) for one in violations[:1]] == [True], violations
    assert len(violations) == len(set(violations))


def test_a_frame_that_is_as_the_schema_says_passes_with_members_of_our_own(contract: Contract | None) -> None:
    if contract is None:
        pytest.skip("no schemas")
    frame = {"id": 1, "result": {"data": [], "nextCursor": None}, "eventId": "1-1"}

    assert contract.violations([Recording(sent={1: "thread/list"}, received=[frame])]) == []


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
