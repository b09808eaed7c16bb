"""What a runner reads of a command line that failed."""

from __future__ import annotations

import pytest

from workers.runner.command import _makes_git


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("git init", True),
        ("cd x && git -C a clone url", True),
        ("mkdir .git", True),
        ("init git", False),
        ("git status", False),
        ("digit init", False),
        ("git " * 500_000, False),
        ("git " * 500_000 + "init", False),  # so far behind that nobody looks
    ],
    ids=["init", "clone", "mkdir", "init before", "status", "digit", "long", "long init"],
)
def test_commands_that_make_a_repository(line: str, expected: bool) -> None:
    assert _makes_git(line[: 1 << 14]) is expected
