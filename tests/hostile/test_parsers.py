"""What reads a stranger's text takes time in proportion to its length, and has a bound on depth."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from shared.errors import ToolError
from shared.protocol import frames
from shared.redaction import Redaction
from workers.agent import proposed_plan
from workers.models import sse
from workers.tools import diff, patch_grammar, shell_words
from workers.tools.exec_command import Arguments

REDACTION = Redaction(["internal-[0-9]+"], ["a-known-secret"])
PIECE_CHARACTERS = 100


def in_pieces(text: str) -> None:
    """Redact a text that arrives in pieces, as a stream does."""
    stream = REDACTION.stream()
    for start in range(0, len(text), PIECE_CHARACTERS):
        stream.feed(text[start : start + PIECE_CHARACTERS])
    stream.close()


def decoded_or_not(raw: bytes) -> None:
    with suppress(ValueError):
        frames.decode_request(raw)


def patch(lines: int) -> str:
    body = "".join(f"-old {number}\n+new {number}\n" for number in range(lines))
    return f"*** Begin Patch\n*** Update File: a\n@@\n{body}*** End Patch"


def update(lines: int) -> str:
    """Apply a hunk to a file in which each line but the last looks like its first one."""
    changes = patch_grammar.parse("*** Begin Patch\n*** Update File: a\n@@\n x\n-y\n+z\n*** End Patch")
    change = changes[0]
    assert isinstance(change, patch_grammar.Update)
    return patch_grammar.updated("x\n" * lines + "y\n", change.hunks, "a")


PARSERS: dict[str, Callable[[int], object]] = {
    "shell: a long word": lambda size: shell_words.split("echo " + "a" * size),
    "shell: a long quoted word": lambda size: shell_words.split('echo "' + "a" * size + '"'),
    "shell: many quoted pieces": lambda size: shell_words.split("echo " + "'a'" * (size // 3)),
    "shell: escaped characters": lambda size: shell_words.split("echo " + "\\a" * (size // 2)),
    "shell: many words": lambda size: shell_words.split("a " * (size // 2)),
    "shell: many commands": lambda size: shell_words.split("a;" * (size // 2)),
    "shell: actions of many commands": lambda size: shell_words.actions("ls a;" * (size // 5), Path("/")),
    "patch: many changed lines": lambda size: patch_grammar.parse(patch(size // 20)),
    "patch: many lines like the one to find": lambda size: update(size // 2),
    "diff: everything differs": lambda size: diff.hunks("a\n" * (size // 2), "b\n" * (size // 2)),
    "JSON: a long string": lambda size: frames.decode(b'"' + b"\\u0000" * (size // 6) + b'"'),
    "JSON: many brackets": lambda size: frames.decode(b"[" + b"[]," * (size // 3) + b"[]]"),
    "request: strings without an end": lambda size: decoded_or_not(b"," * 100_001 + b'"' + b'\\"' * (size // 2)),
    "request: many strings": lambda size: decoded_or_not(b'["a' + b'","a' * (size // 4)),
    "events: many lines": lambda size: list(sse.split([b"data: x\n" * (size // 8) + b"\n"])),
    "events: one byte at a time": lambda size: list(sse.split([b"x"] * size)),
    "plan: many tags": lambda size: proposed_plan.split("<proposed_plan>" * (size // 15)),
    "redaction: a long word": lambda size: REDACTION.text("a" * size),
    "redaction: many names of secrets": lambda size: REDACTION.text("password=" * (size // 9)),
    "redaction: a long run in pieces": lambda size: in_pieces("A" * size),
    "redaction: many beginnings in pieces": lambda size: in_pieces("sk-" * (size // 3)),
    "redaction: a private key without an end": lambda size: in_pieces(
        "-----BEGIN PRIVATE KEY-----" + "A\n" * (size // 2)
    ),
}
SMALL = 6_000
FACTOR = 8
MOST_GROWTH = 4 * FACTOR  # a quadratic parser grows by FACTOR squared


@pytest.mark.parametrize("name", PARSERS)
def test_time_grows_with_the_length_and_not_with_its_square(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell_words, "MAX_LINE_CHARACTERS", 1 << 30)

    def cpu_seconds(size: int) -> float:
        times = []
        for _ in range(3):
            begun = time.thread_time()
            PARSERS[name](size)
            times.append(time.thread_time() - begun)
        return min(times)

    cpu_seconds(1000)

    assert cpu_seconds(SMALL * FACTOR) < max(cpu_seconds(SMALL), 0.002) * MOST_GROWTH


def test_a_line_beyond_the_limit_is_an_unknown_command_that_no_rule_allows() -> None:
    line = "ls;" * shell_words.MAX_LINE_CHARACTERS

    assert shell_words.split(line) is None
    assert shell_words.actions(line, Path("/")) == [{"type": "unknown", "command": line}]
    assert not shell_words.is_allowed(line, [["ls"]])


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, '{"cmd": ' + "[" * 3000 + "]" * 3000 + "}"])
def test_deeply_nested_text_is_an_error_of_the_call(text: str) -> None:
    with pytest.raises(ToolError, match="not JSON"):
        Arguments(text, "exec_command")
    with pytest.raises(ValueError, match=r"depth|deep"):
        frames.decode(text.encode())
    with pytest.raises(sse.Malformed):
        sse.parse(text.encode())
