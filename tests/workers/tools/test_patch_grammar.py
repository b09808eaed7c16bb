"""The grammar of patches: what is parsed, what is refused, and where hunks are applied."""

from __future__ import annotations

import tracemalloc

import pytest

from shared.errors import ToolError
from workers.tools.patch_grammar import (
    MAX_CHANGES,
    MAX_PATCH_BYTES,
    MAX_SEARCHES,
    Add,
    Delete,
    Hunk,
    Update,
    parse,
    updated,
)


def patch(*lines: str) -> str:
    return "\n".join(["*** Begin Patch", *lines, "*** End Patch", ""])


GOOD = {
    "add": (patch("*** Add File: a b.txt", "+one", "+", "++two"), [Add("a b.txt", "one\n\n+two\n")]),
    "empty file": (patch("*** Add File: a"), [Add("a", "")]),
    "delete": (patch("*** Delete File: a"), [Delete("a")]),
    "update": (
        patch("*** Update File: a", "@@", " k", "-r", "+n"),
        [Update("a", None, (Hunk((), ((" ", "k"), ("-", "r"), ("+", "n")), False),))],
    ),
    "first hunk without @@": (
        patch("*** Update File: a", "-r"),
        [Update("a", None, (Hunk((), (("-", "r"),), False),))],
    ),
    "anchors, end of file": (
        patch("*** Update File: a", "@@ class A:", "@@  def f():", "+n", "*** End of File"),
        [Update("a", None, (Hunk(("class A:", " def f():"), (("+", "n"),), True),))],
    ),
    "an empty line is a kept line": (
        patch("*** Update File: a", "@@", "-x", "", "+y"),
        [Update("a", None, (Hunk((), (("-", "x"), (" ", ""), ("+", "y")), False),))],
    ),
    "move alone": (patch("*** Update File: a", "*** Move to: b"), [Update("a", "b", ())]),
    "move and change": (
        patch("*** Update File: a", "*** Move to: b", "@@", "-x"),
        [Update("a", "b", (Hunk((), (("-", "x"),), False),))],
    ),
    "several": (patch("*** Delete File: a", "*** Add File: b", "+x"), [Delete("a"), Add("b", "x\n")]),
    "lines like markers": (
        patch("*** Update File: a", "@@", "-*** End Patch", "+@@", " *** Begin Patch"),
        [Update("a", None, (Hunk((), (("-", "*** End Patch"), ("+", "@@"), (" ", "*** Begin Patch")), False),))],
    ),
    "CRLF": (patch("*** Add File: a", "+x").replace("\n", "\r\n"), [Add("a", "x\n")]),
    "heredoc": ("apply_patch <<'EOF'\n" + patch("*** Delete File: a") + "EOF\n", [Delete("a")]),
    "bare heredoc": ('<<"PATCH"\n' + patch("*** Delete File: a") + "PATCH", [Delete("a")]),
    "space around": ("\n  " + patch("*** Delete File:  a  ") + "\n\n", [Delete("a")]),
}


@pytest.mark.parametrize(("text", "changes"), GOOD.values(), ids=GOOD)
def test_patch_is_parsed(text: str, changes: list[object]) -> None:
    assert parse(text) == changes


BAD = {
    "nothing": ("", "line 1: expected '*** Begin Patch', found ''"),
    "no begin": ("*** Add File: a\n+x\n*** End Patch", "line 1: expected '*** Begin Patch'"),
    "no end": ("*** Begin Patch\n*** Delete File: a", "line 3: expected '*** End Patch', found the end of the text"),
    "no end in a hunk": ("*** Begin Patch\n*** Update File: a\n@@\n-x", "line 5: expected '*** End Patch'"),
    "no change": (patch(), "line 2: expected '*** Add File: …'"),
    "more behind the end": (patch("*** Delete File: a") + "x", "line 4: expected nothing behind '*** End Patch'"),
    "unknown header": (patch("*** Remove File: a"), "line 2: expected '*** Add File: …'"),
    "git diff": ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n", "line 1: expected '*** Begin Patch'"),
    "no path": (patch("*** Add File:  ", "+x"), "line 2: expected a path behind '*** Add File:'"),
    "added line without plus": (patch("*** Add File: a", "+x", "y"), "line 4: expected a line of the new file"),
    "update without hunks": (patch("*** Update File: a"), "line 3: expected '@@' and changed lines"),
    "empty hunk": (patch("*** Update File: a", "@@ x"), "line 4: expected lines that begin with"),
    "blank hunk": (patch("*** Update File: a", "@@", ""), "line 4: expected lines that begin with"),
    "unmarked line": (patch("*** Update File: a", "@@", "-x", "y"), "line 5: expected ' ', '-' or '+'"),
    "hunk behind the end of file": (
        patch("*** Update File: a", "@@", "-x", "*** End of File", "-y"),
        "line 6: expected ' ', '-' or '+'",
    ),
    "move of a deleted file": (patch("*** Delete File: a", "*** Move to: b"), "line 3: expected '*** Add File: …'"),
    "move behind a hunk": (patch("*** Update File: a", "@@", "-x", "*** Move to: b"), "line 5: expected"),
    "too long": (patch("*** Add File: a", "+" + "x" * MAX_PATCH_BYTES), f"longer than {MAX_PATCH_BYTES} bytes"),
    "too many files": (patch(*["*** Delete File: a"] * (MAX_CHANGES + 1)), f"more than {MAX_CHANGES} files"),
    "too many hunks": (
        patch("*** Update File: a", *["@@", "+x"] * (MAX_SEARCHES + 1)),
        f"more than {MAX_SEARCHES} hunks",
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_malformed_patch_error_names_the_line_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(ToolError) as error:
        parse(text)

    assert message in str(error.value)


UPDATES = {
    "replace": ("a\nb\nc\n", [" a", "-b", "+B"], "a\nB\nc\n"),
    "first match": ("x\nx\n", ["-x", "+y"], "y\nx\n"),
    "behind an anchor": ("def f\n x\ndef g\n x\n", ["@@ def g", "- x", "+ y"], "def f\n x\ndef g\n y\n"),
    "behind several anchors": (
        "class A\n def f\n  x\nclass B\n def f\n  x\n",
        ["@@ class B", "@@ def f", "-  x", "+  y"],
        "class A\n def f\n  x\nclass B\n def f\n  y\n",
    ),
    "insert behind an anchor": ("a\nb\n", ["@@ a", "+n"], "a\nn\nb\n"),
    "append without anchor": ("a\n", ["@@", "+n"], "a\nn\n"),
    "at the end": ("x\ny\nx\n", ["@@", "-x", "+z", "*** End of File"], "x\ny\nz\n"),
    "anchor and insert at the end": ("a\nb\nc\n", ["@@ a", "+n", "*** End of File"], "a\nb\nc\nn\n"),
    "hunks in order": ("x\nm\nx\n", ["@@", "-x", "+1", "@@", "-x", "+2"], "1\nm\n2\n"),
    "delete everything": ("a\nb\n", ["-a", "-b"], ""),
    "into an empty file": ("", ["+a"], "a\n"),
    "space at line ends ignored": ("a  \nb\n", [" a", "-b", "+c"], "a  \nc\n"),
    "indentation ignored": ("\tif x:\n\t\ty\n", [" if x:", "-  y", "+\t\tz"], "\tif x:\n\t\tz\n"),
    "typographic signs": ("a – “b”\n", ['-a - "b"', "+c"], "c\n"),
    "exact wins over near": (" x\nx\n", ["-x", "+y"], " x\ny\n"),
    "blank line before the next marker": ("a\nb\n", ["-b", "+c", ""], "a\nc\n"),
    "CRLF stays": ("a\r\nb\r\n", [" a", "-b", "+c"], "a\r\nc\r\n"),
    "no final newline stays": ("a\nb", ["-a", "+c"], "c\nb"),
    "no final newline, last line replaced": ("a\nb", [" a", "-b", "+c"], "a\nc"),
    "no final newline, appended": ("a\nb", ["@@", "+c"], "a\nb\nc"),
    "no final newline, CRLF": ("a\r\nb", ["@@", "+c"], "a\r\nb\r\nc"),
    "mixed line ends, replaced": ("a\n b\r\n c\r\n", ["  b", "- c", "+ d", "+ e"], "a\n b\r\n d\r\n e\r\n"),
    "mixed line ends, put before": ("a\n b\r\n", ["+n", "- b"], "a\nn\r\n"),
    "mixed line ends, inserted": ("a\r\nb\n", [" a", "+n", " b"], "a\r\nn\r\nb\n"),
    "mixed line ends, first": ("a\r\nb\n", ["+n", " a"], "n\r\na\r\nb\n"),
    "mixed line ends, LF among CRLF": ("a\r\nb\nc\r\n", ["-b", "+n", "+m"], "a\r\nn\nm\nc\r\n"),
    "mixed line ends, open last line": ("a\nb\r\nc", ["-c", "+n", "+m"], "a\nb\r\nn\r\nm"),
    "CR alone": ("a\rb\r", ["-b", "+n", "+m"], "a\rn\rm\r"),
    "byte order mark": ("\ufeffimport x\n", ["@@", "-import x", "+import y"], "\ufeffimport y\n"),
    "byte order mark, kept line": ("\ufeffa\nb\n", [" a", "-b", "+c"], "\ufeffa\nc\n"),
    "byte order mark, anchor": ("\ufeffa\nb\n", ["@@ a", "-b", "+c"], "\ufeffa\nc\n"),
    "byte order mark, copied": ("\ufeffa\nb\n", ["-\ufeffa", "+\ufeffc"], "\ufeffc\nb\n"),
    "byte order mark, new first line": ("\ufeffa\r\n", ["+n", " a"], "\ufeffn\r\na\r\n"),
    "bytes that are no UTF-8": ("caf\udce9\nb\n", [" caf\ufffd", "-b", "+c"], "caf\udce9\nc\n"),
    "blank lines before the next marker": ("a\nb\n", ["-b", "+c", "", "", ""], "a\nc\n"),
    "only blank lines": ("a\n\n", ["+c", ""], "a\nc\n\n"),
    "other line separators are text": ("a\u2028b\x0cc\nd\n", ["-d", "+e"], "a\u2028b\x0cc\ne\n"),
}


@pytest.mark.parametrize(("content", "lines", "result"), UPDATES.values(), ids=UPDATES)
def test_hunks_are_applied_where_their_lines_are(content: str, lines: list[str], result: str) -> None:
    [change] = parse(patch("*** Update File: f", *lines))

    assert isinstance(change, Update)
    assert updated(content, change.hunks, "f") == result


MISSES = {
    "no such line": ("a\n", ["-b"], "f: these lines are not behind line 0:\nb"),
    "no such anchor": ("a\n", ["@@ b", "-a"], "f: no line 'b' behind line 0"),
    "lines before the anchor": ("a\nb\n", ["@@ b", "-a"], "f: these lines are not behind line 2:\na"),
    "hunks out of order": ("a\nb\n", ["@@", "-b", "@@", "-a"], "f: these lines are not behind line 2"),
    "not at the end": ("a\nb\n", ["@@", "-a", "*** End of File"], "f: these lines are not at the end of the file"),
    "the end was used": ("a\n", ["@@", "-a", "@@", "-a", "*** End of File"], "not at the end of the file"),
    "half a line": ("abc\n", ["-b"], "f: these lines are not"),
    "empty file": ("", ["-a"], "f: these lines are not"),
}


@pytest.mark.parametrize(("content", "lines", "message"), MISSES.values(), ids=MISSES)
def test_hunk_that_fits_nowhere_is_refused_with_its_lines(content: str, lines: list[str], message: str) -> None:
    [change] = parse(patch("*** Update File: f", *lines))

    assert isinstance(change, Update)
    with pytest.raises(ToolError) as error:
        updated(content, change.hunks, "f")
    assert message in str(error.value)


@pytest.mark.timeout(100)  # a search that is not linear would take hours
def test_search_is_linear_with_repeated_lines() -> None:
    [change] = parse(patch("*** Update File: f", *["-a"] * 100_000, "-b"))

    assert isinstance(change, Update)
    with pytest.raises(ToolError):
        updated("a\n" * 400_000, change.hunks, "f")


@pytest.mark.timeout(100)  # one search for each blank line would take hours
def test_blank_lines_at_the_end_of_a_hunk_cost_one_search() -> None:
    [change] = parse(patch("*** Update File: f", "-b", *[""] * 200_000))

    assert isinstance(change, Update)
    with pytest.raises(ToolError):
        updated("a\n" * 4_000_000, change.hunks, "f")


def test_large_file_of_short_lines_needs_little_memory() -> None:
    [change] = parse(patch("*** Update File: f", "- b", "+c"))
    assert isinstance(change, Update)
    content = "a\n" * 400_000 + "b\n"

    tracemalloc.start()
    assert updated(content, change.hunks, "f").endswith("a\nc\n")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak_bytes < 12 * len(content)
