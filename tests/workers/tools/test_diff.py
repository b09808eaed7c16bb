"""Diffs of one change, reverted diffs, and diffs of a whole turn, in the original's format."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ToolError
from workers.tools.diff import MAX_EDITS, MAX_TURN_DIFF_BYTES, hunks, reverted, turn_diff

CWD = Path("/home/user/project")
TEN = "".join(f"{n}\n" for n in range(1, 11))

HUNKS = {
    "one line": ("one\n", "two\n", "@@ -1 +1 @@\n-one\n+two\n"),
    "nothing": ("a\n", "a\n", ""),
    "into an empty file": ("", "a\nb\n", "@@ -0,0 +1,2 @@\n+a\n+b\n"),
    "to an empty file": ("a\nb\n", "", "@@ -1,2 +0,0 @@\n-a\n-b\n"),
    "context": (TEN, TEN.replace("5\n", "five\n"), "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"),
    "two hunks": (
        TEN,
        TEN.replace("1\n2", "0\n1\n2", 1).replace("10\n", ""),
        "@@ -1,3 +1,4 @@\n+0\n 1\n 2\n 3\n@@ -7,4 +8,3 @@\n 7\n 8\n 9\n-10\n",
    ),
    "near changes share a hunk": (
        TEN,
        TEN.replace("2\n", "b\n").replace("6\n", "f\n"),
        "@@ -1,9 +1,9 @@\n 1\n-2\n+b\n 3\n 4\n 5\n-6\n+f\n 7\n 8\n 9\n",
    ),
    "no final newline": (
        "a\nb",
        "a\nc",
        "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+c\n\\ No newline at end of file\n",
    ),
    "CRLF": ("a\r\n", "b\r\n", "@@ -1 +1 @@\n-a\r\n+b\r\n"),
}


@pytest.mark.parametrize(("old", "new", "diff"), HUNKS.values(), ids=HUNKS)
def test_change_becomes_unified_hunks(old: str, new: str, diff: str) -> None:
    assert hunks(old, new) == diff


def test_hunks_revert_any_change() -> None:
    chance = random.Random(7)
    for _ in range(200):
        old, new = (
            "\n".join(chance.choices(["a", "b", "c", "@@ -1 +1 @@", "", "-"], k=chance.randrange(25))) for _ in "xy"
        )

        assert reverted(new, hunks(old, new)) == old


def test_hunks_that_do_not_fit_are_not_reverted() -> None:
    assert reverted("something else\n", hunks("one\n", "two\n")) is None


@pytest.mark.timeout(100)
def test_diff_of_a_rewritten_large_file_has_bounded_cost() -> None:
    old, new = ("".join(f"{n}{mark}\n" for n in range(100 * MAX_EDITS)) for mark in "ab")

    assert reverted(new, hunks(old, new)) == old


def add(name: str, content: str) -> dict[str, Any]:
    return {"path": str(CWD / name), "kind": {"type": "add"}, "diff": content}


def update(name: str, old: str, new: str, move_to: str | None = None) -> dict[str, Any]:
    move_path = move_to and str(CWD / move_to)
    return {"path": str(CWD / name), "kind": {"type": "update", "move_path": move_path}, "diff": hunks(old, new)}


def delete(name: str, content: str) -> dict[str, Any]:
    return {"path": str(CWD / name), "kind": {"type": "delete"}, "diff": content}


def diff_of(calls: list[list[dict[str, Any]]], **now: str) -> str:
    """Return the turn's diff when these files exist now (f_txt for f.txt)."""
    return turn_diff(calls, CWD, {str(CWD / name.replace("_", ".")): text for name, text in now.items()}.get)


HELLO = "94954abda49de8615a048f8d2e64b5de848e27a1"
ZEROS = "0" * 40


def test_added_file_has_the_originals_diff() -> None:
    assert diff_of([[add("new.txt", "hello\nworld\n")]], new_txt="hello\nworld\n") == (
        f"diff --git a/new.txt b/new.txt\nnew file mode 100644\nindex {ZEROS}..{HELLO}\n"
        "--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1,2 @@\n+hello\n+world\n"
    )


def test_updated_file_has_the_originals_diff() -> None:
    assert diff_of([[update("f.txt", "one\n", "two\n")]], f_txt="two\n") == (
        "diff --git a/f.txt b/f.txt\n"
        "index 5626abf0f72e58d7a153368ba57db4c673c0e171..f719efd430d52bcfc8566a43b2eb655688d38871\n"
        "--- a/f.txt\n+++ b/f.txt\n@@ -1 +1 @@\n-one\n+two\n"
    )


def test_file_outside_the_working_directory_has_the_originals_diff() -> None:
    change = {"path": "/home/user/outside.txt", "kind": {"type": "add"}, "diff": "hello\nworld\n"}

    diff = turn_diff([[change]], CWD, {"/home/user/outside.txt": "hello\nworld\n"}.get)

    assert diff.startswith("diff --git a//home/user/outside.txt b//home/user/outside.txt\nnew file mode 100644\n")


def test_deleted_file_is_shown_with_its_former_lines() -> None:
    assert diff_of([[delete("f.txt", "hello\nworld\n")]]) == (
        f"diff --git a/f.txt b/f.txt\ndeleted file mode 100644\nindex {HELLO}..{ZEROS}\n"
        "--- a/f.txt\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-hello\n-world\n"
    )


def test_added_empty_file_has_no_hunks() -> None:
    assert diff_of([[add("e", "")]], e="").endswith(f"index {ZEROS}..e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\n")


def test_move_is_shown_as_deletion_and_addition() -> None:
    diff = diff_of([[update("a", "one\n", "two\n", move_to="b")]], b="two\n")

    assert "--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n" in diff
    assert "--- /dev/null\n+++ b/b\n@@ -0,0 +1 @@\n+two\n" in diff


TURNS: dict[str, tuple[list[list[dict[str, Any]]], dict[str, str], str]] = {
    "two updates": ([[update("f", "1\n", "2\n")], [update("f", "2\n", "3\n")]], {"f": "3\n"}, "@@ -1 +1 @@\n-1\n+3\n"),
    "add, then update": ([[add("f", "1\n")], [update("f", "1\n", "2\n")]], {"f": "2\n"}, "@@ -0,0 +1 @@\n+2\n"),
    "update, then delete": ([[update("f", "1\n", "2\n")], [delete("f", "2\n")]], {}, "@@ -1 +0,0 @@\n-1\n"),
    "delete, then add": ([[delete("f", "1\n")], [add("f", "2\n")]], {"f": "2\n"}, "@@ -1 +1 @@\n-1\n+2\n"),
    "update, then move": (
        [[update("f", "1\n", "2\n")], [update("f", "2\n", "2\n", move_to="g")]],
        {"g": "2\n"},
        "--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n",
    ),
    "a command wrote above": ([[update("f", "1\n", "2\n")]], {"f": "new\n2\n"}, "@@ -1,2 +1,2 @@\n new\n-1\n+2\n"),
    "a command wrote below": ([[update("f", "1\n", "2\n")]], {"f": "2\nmore\n"}, "@@ -1,2 +1,2 @@\n-1\n+2\n more\n"),
}


@pytest.mark.parametrize(("calls", "now", "shown"), TURNS.values(), ids=TURNS)
def test_turn_diff_spans_from_before_the_first_patch_until_now(
    calls: list[list[dict[str, Any]]], now: dict[str, str], shown: str
) -> None:
    assert shown in diff_of(calls, **now)


NOTHING_LEFT = {
    "add, then delete": ([[add("f", "1\n")], [delete("f", "1\n")]], {}),
    "there and back": ([[update("f", "1\n", "2\n")], [update("f", "2\n", "1\n")]], {"f": "1\n"}),
    "moved there and back": ([[update("f", "1", "1", "g")], [update("g", "1", "1", "f")]], {"f": "1"}),
    "rewritten by a command": ([[update("f", "1\n", "2\n")]], {"f": "other\n"}),
}


@pytest.mark.parametrize(("calls", "now"), NOTHING_LEFT.values(), ids=NOTHING_LEFT)
def test_undone_and_unknown_changes_are_not_shown(calls: list[list[dict[str, Any]]], now: dict[str, str]) -> None:
    assert diff_of(calls, **now) == ""


def test_file_that_cannot_be_read_any_more_is_left_out() -> None:
    def read(path: str) -> str | None:
        if path.endswith("/f"):
            raise ToolError("a symbolic link")
        return "x\n"

    diff = turn_diff([[update("f", "1\n", "2\n"), add("g", "x\n")]], CWD, read)

    assert diff.startswith("diff --git a/g b/g\n")


def test_huge_file_is_only_named() -> None:
    content = "x" * MAX_TURN_DIFF_BYTES + "\n"

    diff = diff_of([[add("big", content), add("small", "x\n")]], big=content, small="x\n")

    assert diff.startswith("diff --git a/big b/big\ndiff --git a/small b/small\n")
