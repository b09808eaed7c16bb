"""What a connection waits for: found by name, ended with it, and ended when the connection closes."""

from __future__ import annotations

import pytest

from api.delivery.active_calls import ActiveCalls
from api.delivery.close_codes import NORMAL, Closed
from shared.errors import InvalidRequest


class Call:
    """Something to cancel. cancelled: how often it was."""

    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


def test_a_name_is_in_use_until_its_call_ends() -> None:
    calls, first, second = ActiveCalls(), Call(), Call()
    calls.add("search 1", first)

    with pytest.raises(InvalidRequest, match="duplicate active search 1"):
        calls.add("search 1", second)
    calls.remove("search 1", second)
    with pytest.raises(InvalidRequest):
        calls.add("search 1", second)
    calls.remove("search 1", first)

    calls.add("search 1", second)
    assert (first.cancelled, second.cancelled) == (0, 0)


def test_a_cancelled_call_frees_its_name() -> None:
    calls, first, second = ActiveCalls(), Call(), Call()
    calls.add("command 1", first)

    calls.cancel("command 1")
    calls.cancel("command 1")
    calls.add("command 1", second)

    assert (first.cancelled, second.cancelled) == (1, 0)


def test_only_worker_calls_are_found() -> None:
    calls = ActiveCalls()
    calls.add("search 1", Call())

    assert calls.find("search 1") is None
    assert calls.find("unknown") is None


def test_closing_cancels_what_is_active_and_refuses_more() -> None:
    calls, call = ActiveCalls(), Call()
    calls.add("command 1", call)
    first, second = Closed(NORMAL, "first"), Closed(NORMAL, "second")

    calls.close(first)
    calls.close(second)

    assert call.cancelled == 2
    with pytest.raises(Closed) as refused:
        calls.add("command 2", Call())
    assert refused.value is first
