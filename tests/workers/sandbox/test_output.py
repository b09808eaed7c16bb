"""Output that is kept, however much there is."""

from __future__ import annotations

import random

import pytest

from workers.sandbox.output import CappedOutput, count_tokens, shorten


def test_what_fits_is_kept_as_it_came() -> None:
    output = CappedOutput(10)

    assert output.add("123") + output.add("45") == "12345"
    assert output.text() == "12345"
    assert output.add("678") == ""
    assert output.text() == "12345678"
    assert output.ending() == "678"


def test_of_too_much_the_beginning_and_the_end_are_kept_and_the_rest_is_counted() -> None:
    output = CappedOutput(10)
    for digit in range(1000):
        output.add(str(digit % 10))

    assert output.text() == "01234\n[… 990 bytes of output left out …]\n56789"
    assert output.total_bytes == 1000


@pytest.mark.parametrize("text", ["é" * 1000, "a€" * 500, "🙂" * 300, "a" + "🙂" * 300])
def test_no_character_is_cut_in_half_and_the_pieces_are_the_whole(text: str) -> None:
    chance = random.Random(7)
    output = CappedOutput(101)
    said = ""
    rest = text
    while rest:
        size = chance.randrange(1, 20)
        said += output.add(rest[:size])
        rest = rest[size:]
    said += output.ending()

    assert said == output.text()
    assert "\ufffd" not in said
    head, tail = said.split("\n[")[0], said.split("]\n")[1]
    assert text.startswith(head)
    assert text.endswith(tail)
    assert 90 < len((head + tail).encode()) <= 101
    assert output.total_bytes == len(text.encode())
    assert f"… {len(text.encode()) - len((head + tail).encode())} bytes" in said


def test_long_text_is_cut_in_the_middle_for_the_model() -> None:
    text = "a" * 400 + "\n" + "b" * 400

    assert shorten(text, count_tokens(len(text))) == text
    assert shorten(text, 10) == "Total output lines: 2\n\n" + "a" * 20 + "…191 tokens truncated…" + "b" * 20
