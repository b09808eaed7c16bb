"""Lines of a program: joined from pieces, paused when nobody reads, and dropped when they are too long."""

from __future__ import annotations

import asyncio
import json

import pytest

from workers.mcp import lines
from workers.mcp.lines import Lines


def fed(*pieces: bytes) -> list[bytes | None]:
    """Return the lines of output that comes in these pieces; None at the end."""

    async def read() -> list[bytes | None]:
        queue = Lines(asyncio.get_running_loop())
        for piece in pieces:
            queue.feed(lines.OUTPUT, piece)
        queue.feed(0, b"")
        found: list[bytes | None] = []
        while found[-1:] != [None]:
            found.append(await queue.next())
        return found

    return asyncio.run(read())


def test_lines_are_joined_and_empty_ones_left_out() -> None:
    assert fed(b'{"a"', b":1}\n\n  \n{", b'"b":2}\nrest') == [b'{"a":1}', b'{"b":2}', None]


@pytest.mark.parametrize("text", [b'{"id": 7, "result": "%b"}\n', b'{"result": "%b", "id":7}\n'])
def test_a_line_that_is_too_long_becomes_an_error_for_its_request(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 5_000)
    whole = text % (b"x" * 20_000)

    error, after, end = fed(*(whole[i : i + 999] for i in range(0, len(whole), 999)), b"{}\n")

    assert json.loads(error or b"")["id"] == 7
    assert "so it was dropped" in json.loads(error or b"")["error"]["message"]
    assert (after, end) == (b"{}", None)


def test_a_program_is_paused_while_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_WAITING_BYTES", 100 + lines.BYTES_OF_A_PLACE)
    resumed: list[bool] = []

    async def read() -> None:
        queue = Lines(asyncio.get_running_loop())
        queue.resume = lambda: resumed.append(True)
        assert queue.feed(lines.OUTPUT, b"x" * 60 + b"\n")
        assert not queue.feed(lines.OUTPUT, b"y" * 60 + b"\n")
        await queue.next()
        assert resumed == []
        await queue.next()

    asyncio.run(read())
    assert resumed == [True]


def test_a_program_that_writes_short_lines_is_paused_before_they_fill_the_memory() -> None:
    async def count() -> int:
        queue, number = Lines(asyncio.get_running_loop()), 0
        while queue.feed(lines.OUTPUT, b"ab\n" * 20_000):
            number += 20_000
        return number

    assert asyncio.run(count()) < 300_000
