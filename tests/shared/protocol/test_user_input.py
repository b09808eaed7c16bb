"""Previews of first messages; tests/clients/test_lists.py compares them with the original's."""

from __future__ import annotations

from typing import Any

import pytest

from shared.protocol.user_input import PREVIEW_CHARACTERS, preview

IMAGE = {"type": "image", "url": "data:image/png;base64,"}
IDE = "# Context from my IDE setup:\n\n## Active file: a.py\n\n## My request for Codex:\n"


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


PREVIEWS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "two lines": ([text("hello\nworld")], "hello\nworld"),
    "blanks around": ([text("\n\n  hello \n")], "hello"),
    "blank": ([text("  \n")], ""),
    "nothing": ([], ""),
    "two parts": ([text("one"), text("two")], "onetwo"),
    "blank, then text": ([text(" "), text("two")], "two"),
    "image alone": ([IMAGE], "[Image]"),
    "image and blank": ([text(" "), IMAGE], "[Image]"),
    "image and text": ([IMAGE, text("what?")], "what?"),
    "image file": ([{"type": "localImage", "path": "/missing.png"}], "[Image]"),
    "mention": ([{"type": "mention", "name": "a", "path": "/a"}], ""),
    "IDE": ([text(f"{IDE}fix it\nin a.py\n")], "fix it\nin a.py"),
    "IDE, two parts": ([text(IDE), text("fix it")], "fix it"),
    "IDE without a request": ([text(IDE)], ""),
    "IDE and image": ([text(IDE), IMAGE], "[Image]"),
    "IDE, heading repeated": ([text(f"{IDE}one\n## My request for Codex:\ntwo")], "one\n## My request for Codex:\ntwo"),
    "context without a request": (
        [text("# Context from my IDE setup:\n\n## Active file: a\n")],
        IDE.partition("a.py")[0] + "a",
    ),
}


@pytest.mark.parametrize(("parts", "shown"), PREVIEWS.values(), ids=PREVIEWS)
def test_preview_is_what_the_user_asked_for(parts: list[Any], shown: str) -> None:
    assert preview(parts) == shown


def test_preview_has_a_length() -> None:
    assert preview([{"type": "text", "text": " " + "x" * 10_000}]) == "x" * PREVIEW_CHARACTERS
