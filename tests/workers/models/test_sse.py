from __future__ import annotations

import pytest

from workers.models import sse

STREAM = (
    b': hi\r\nevent: a\r\ndata: {"n": 1}\r\n\r\nid: 7\ndata:{"n":\ndata: 2}\n\n\n: only a comment\n\ndata: [DONE]\n\n'
)
EVENTS = [b'{"n": 1}', b'{"n":\n2}', b"[DONE]"]


@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
def test_chunks_may_end_anywhere(size: int) -> None:
    chunks = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]

    assert list(sse.split(chunks)) == EVENTS


def test_unfinished_last_event_is_dropped() -> None:
    assert list(sse.split([b"data: 1\n\ndata: 2\n"])) == [b"1"]


def test_event_without_end_is_malformed_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)

    assert len(list(sse.split([b"data: " + b"x" * 500 + b"\n\n"] * 10))) == 10
    with pytest.raises(sse.Malformed):
        list(sse.split([b"data: " + b"x" * 500] * 10))
    with pytest.raises(sse.Malformed):
        list(sse.split([b"data: " + b"x" * 500 + b"\n"] * 10))


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (rb'{"a": "x\u0000y"}', {"a": "x\ufffdy"}),
        (rb'["\ud800", "\udc00z", "\ud83d\ude00"]', ["\ufffd", "\ufffdz", "\U0001f600"]),
        (b'"\xff\xc3\xbc"', "\ufffdü"),
        (rb'"\\u0000"', r"\u0000"),
    ],
)
def test_characters_that_no_database_can_store_are_replaced(data: bytes, value: object) -> None:
    assert sse.parse(data) == value


def test_event_that_is_not_json_is_malformed() -> None:
    with pytest.raises(sse.Malformed):
        sse.parse(b'{"type": "resp')
