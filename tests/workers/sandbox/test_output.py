"""CappedOutput and shorten: what is kept of long output."""

from __future__ import annotations

import random

import pytest

from workers.sandbox.output import CappedOutput, count_tokens, shorten


def test_output_within_the_limit_is_kept_unchanged() -> None:
    output = CappedOutput(10)

    assert output.add(b"123") + output.add(b"45") == "12345"
    assert output.text() == "12345"
    assert output.add(b"678") == ""
    assert output.text() == "12345678"
    assert output.ending() == "678"


def test_long_output_keeps_head_and_tail_and_counts_the_rest() -> None:
    output = CappedOutput(10)
    for digit in range(1000):
        output.add(str(digit % 10).encode())

    assert output.text() == "01234\n[… 990 bytes of output left out …]\n56789"
    assert output.total_bytes == 1000


@pytest.mark.parametrize("text", ["é" * 1000, "a€" * 500, "🙂" * 300, "a" + "🙂" * 300])
def test_cut_never_splits_a_character_and_the_pieces_make_up_the_text(text: str) -> None:
    chance = random.Random(7)
    output = CappedOutput(101)
    text_so_far = ""
    rest = text.encode()
    while rest:
        size = chance.randrange(1, 20)
        text_so_far += output.add(rest[:size])
        rest = rest[size:]
    text_so_far += output.ending()

    assert text_so_far == output.text()
    assert "\ufffd" not in text_so_far
    head, tail = text_so_far.split("\n[")[0], text_so_far.split("]\n")[1]
    assert text.startswith(head)
    assert text.endswith(tail)
    assert 90 < len((head + tail).encode()) <= 101
    assert output.total_bytes == len(text.encode())
    assert f"… {len(text.encode()) - len((head + tail).encode())} bytes" in text_so_far


@pytest.mark.parametrize("max_bytes", [6, 8, 9, 10, 12, 40])
def test_invalid_bytes_and_nul_are_replaced_wherever_the_pieces_end(max_bytes: int) -> None:
    data = b"a\0\xff" + "é🙂".encode() + b"\xe2\x82" + b"b\xf0\x9f"
    whole = CappedOutput(max_bytes)
    whole.add(data)
    output = CappedOutput(max_bytes)

    pieces = "".join(output.add(data[at : at + 1]) for at in range(len(data)))

    assert pieces + output.ending() == output.text() == whole.text()
    assert "\0" not in whole.text()
    if max_bytes == 40:
        assert whole.text() == data.decode(errors="replace").replace("\0", "\ufffd")


def test_a_character_that_is_not_complete_is_left_to_the_next_piece() -> None:
    first, second = CappedOutput(10), CappedOutput(10)
    first.add("aé".encode()[:2])

    second.add(first.pop_incomplete() + "é".encode()[1:])

    assert (first.text(), first.total_bytes, second.text()) == ("a", 1, "é")


@pytest.mark.parametrize("ending", ["", "\n"])
def test_counts_for_the_model_are_those_of_the_whole_output(ending: str) -> None:
    output = CappedOutput(1000)
    line = "x" * 99 + "\n"
    for _ in range(10_000):
        output.add(line.encode())
    output.add(f"end{ending}".encode())

    text = output.shortened(20)

    assert text.startswith("Warning: truncated output (original token count: 250001)\nTotal output lines: 10001\n\nxxx")
    assert "…249981 tokens truncated…" in text
    assert text.endswith(f"xend{ending}".replace("xend", "\nend"))


def test_long_text_for_the_model_is_cut_in_the_middle() -> None:
    text = "a" * 400 + "\n" + "b" * 400

    assert shorten(text, count_tokens(len(text))) == text
    assert shorten(text, 10) == "Total output lines: 2\n\n" + "a" * 20 + "…191 tokens truncated…" + "b" * 20
