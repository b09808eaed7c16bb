"""Reasoning between tags in the text of an answer, however the text is cut into deltas."""

from __future__ import annotations

import itertools

import pytest

from workers.models.thinking_tags import ThinkingTags


def joined(deltas: list[str]) -> list[tuple[str, str]]:
    """Return (kind, text) of the answer, neighbours of one kind joined."""
    tags = ThinkingTags()
    parts = [part for delta in deltas for part in tags.split(delta)] + list(tags.rest())
    assert all(text for _, text in parts)
    return [(kind, "".join(text for _, text in run)) for kind, run in itertools.groupby(parts, lambda part: part[0])]


@pytest.mark.parametrize(
    ("answer", "parts"),
    [
        ("plain", [("message", "plain")]),
        ("<think>why</think>\n\nso", [("reasoning", "why"), ("message", "so")]),
        ("\n<think>\na < b</thin</think>x </think> y", [("reasoning", "\na < b</thin"), ("message", "x </think> y")]),
        ("<think></think>so", [("message", "so")]),
        ("<think>cut sho", [("reasoning", "cut sho")]),
        ("<think>cut sho</thi", [("reasoning", "cut sho</thi")]),
        ("say <think>x</think>", [("message", "say <think>x</think>")]),
        ("<thin", [("message", "<thin")]),
        ("<b>bold", [("message", "<b>bold")]),
        ("", []),
    ],
)
def test_an_answer_is_split_in_the_same_way_wherever_its_deltas_end(answer: str, parts: list[tuple[str, str]]) -> None:
    assert joined([answer]) == parts
    assert joined(list(answer)) == parts
    for at in range(len(answer)):
        assert joined([answer[:at], answer[at:]]) == parts
