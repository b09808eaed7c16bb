"""Unified diffs: how one change changed a file, and how a turn changed all its files.

A turn's diff is computed from what is stored (the `changes` of its completed fileChange items) and from the files as
they are now: each stored diff is applied backwards, newest first, which gives the contents before the turn. So any
worker can compute it at any time, and nothing has to be kept between calls.

Source:  PROTOCOL.md 3.3 (`fileChange.diff`) and 6 (`turn/diff/updated`)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from shared.errors import ToolError
from shared.protocol.items import FileUpdate

CONTEXT_LINES = 3
MAX_EDITS = 1000  # lines; the search costs the square of it; beyond it the changed span is shown as one block
MAX_TURN_DIFF_BYTES = 2 * 1024 * 1024  # sent again after each patch; files beyond it are named without their lines

MAX_SHOWN_BYTES = 2 * 1024 * 1024  # of one change: every client gets it
MAX_LINES = 1_000_000  # of a changed span; each costs 60 bytes of memory
TOO_LONG = "(this change is too long to be shown)\n"

OPEN_END = "\\ No newline at end of file"
NO_BLOB = "0" * 40
HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


def hunks(old: str, new: str) -> str:
    """Return the difference from old to new as unified hunks without file headers; "" when there is none.

    It is a note that `is_note` accepts where it would be longer than MAX_SHOWN_BYTES or have too many lines.
    """
    start, end = _unchanged(old, new)
    skipped = old.count("\n", 0, start)
    old, new = old[start : len(old) - end], new[start : len(new) - end]
    if max(old.count("\n"), new.count("\n")) > MAX_LINES:
        return shown("", too_long=True)
    before, after = _lines(old), _lines(new)
    out: list[str] = []
    for group in _grouped(_changed(before, after)):
        old_from, old_to = max(group[0][0] - CONTEXT_LINES, 0), min(group[-1][1] + CONTEXT_LINES, len(before))
        new_from, new_to = max(group[0][2] - CONTEXT_LINES, 0), min(group[-1][3] + CONTEXT_LINES, len(after))
        spans = _span(skipped + old_from, skipped + old_to), _span(skipped + new_from, skipped + new_to)
        out.append(f"@@ -{spans[0]} +{spans[1]} @@\n")
        at = old_from
        for i1, i2, j1, j2 in group:
            out += [_marked(" ", line) for line in before[at:i1]]
            out += [_marked("-", line) for line in before[i1:i2]]
            out += [_marked("+", line) for line in after[j1:j2]]
            at = i2
        out += [_marked(" ", line) for line in before[at:old_to]]
    return shown("".join(out))


def shown(diff: str, *, too_long: bool = False) -> str:
    """Return a change's diff, or a note in its place where it is too long to be sent to every client."""
    return TOO_LONG if too_long or len(diff) > MAX_SHOWN_BYTES else diff


def is_note(diff: str) -> bool:
    """Return whether a stored diff says only that it is too long."""
    return diff == TOO_LONG


def reverted(new: str, diff: str) -> str | None:
    """Return the content that `hunks(content, new)` was made from; None when new lacks what the hunks produced.

    Lines that a command has inserted since are kept: a hunk is also found below or above its line numbers.
    """
    after = _lines(new)
    result: list[str] = []
    done = 0
    for header, body in _parsed(diff):
        start = int(header[3]) - (header[4] != "0")
        old = [line for mark, line in body if mark != "+"]
        made = [line for mark, line in body if mark != "-"]
        if start < done or after[start : start + len(made)] != made:
            moved = _found(after, made, done)
            if moved is None:
                return None
            start = moved
        result += after[done:start] + old
        done = start + len(made)
    return "".join(result + after[done:])


def turn_diff(calls: Iterable[Sequence[FileUpdate]], cwd: Path, read: Callable[[str], str | None]) -> str:
    """Return everything that a turn has changed so far as one git-style diff; "" when nothing is left of it.

    calls: `changes` of the turn's completed fileChange items, oldest first
    cwd:   paths below it are shown relative to it, others absolute
    read:  a file's content now, None when the file does not exist; a file for which it raises ToolError is left out

    Where a command has rewritten lines that a patch made, the diff of that file begins after that patch.
    """
    changes = [change for call in calls for change in call]
    names = list(dict.fromkeys(path for change in changes for path in _touched(change)))
    now: dict[str, str | None] = {}
    for name in names:
        with suppress(ToolError):
            now[name] = read(name)
    before = dict(now)
    unknown: set[str] = set()
    for change in reversed(changes):
        path, kind = change["path"], change["kind"]
        if is_note(change["diff"]):
            unknown.update(_touched(change))
        if kind["type"] == "add":
            before[path] = None
        elif kind["type"] == "delete":
            before[path] = change["diff"]
        else:
            target = kind.get("move_path") or path
            content = before.get(target)
            old = None if content is None or target in unknown else reverted(content, change["diff"])
            if target != path:
                before[target] = None
            before[path] = content if old is None else old
    out = ""
    for name in now:
        section = _section(_shown(name, cwd), before[name], now[name], is_known=name not in unknown)
        if len(out) + len(section) > MAX_TURN_DIFF_BYTES:
            section = section.partition("\n")[0] + "\n"
        out += section
    return out


def _section(name: str, old: str | None, new: str | None, *, is_known: bool) -> str:
    """Return the diff of one file. is_known: whether `old` is its content before the turn; if not, it is only named."""
    if is_known and old == new:
        return ""
    kind = "new file mode 100644\n" if old is None else "deleted file mode 100644\n" if new is None else ""
    title = f"diff --git a/{name} b/{name}\n"
    body = hunks(old or "", new or "") if is_known else TOO_LONG
    if is_note(body):
        return title
    head = f"{title}{kind}index {_blob(old)}..{_blob(new)}\n"
    if not body:
        return head
    before, after = "/dev/null" if old is None else f"a/{name}", "/dev/null" if new is None else f"b/{name}"
    return f"{head}--- {before}\n+++ {after}\n{body}"


def _touched(change: FileUpdate) -> list[str]:
    move_path = change["kind"].get("move_path")
    return [change["path"], move_path] if move_path else [change["path"]]


def _shown(name: str, cwd: Path) -> str:
    path = Path(name)
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else name


def _blob(content: str | None) -> str:
    if content is None:
        return NO_BLOB
    data = content.encode()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _unchanged(old: str, new: str) -> tuple[int, int]:
    """Return how many characters of both texts are equal at the start and at the end, as whole lines, but for context.

    So the texts need not be split into lines for a change of a few of them.
    """
    length = min(len(old), len(new))
    same = _equal(length, lambda low, high: old.startswith(new[low:high], low))
    start = old.rfind("\n", 0, same) + 1
    for _ in range(CONTEXT_LINES):
        start = old.rfind("\n", 0, max(start - 1, 0)) + 1
    shift = len(new) - len(old)
    end = _equal(
        length - same, lambda low, high: old.endswith(new[len(new) - high : len(new) - low], 0, len(old) - low)
    )
    begin = len(old) - end
    for _ in range(CONTEXT_LINES + (not (_begins_line(old, begin) and _begins_line(new, begin + shift)))):
        begin = old.find("\n", begin) + 1 or len(old)
    return start, len(old) - begin


def _begins_line(text: str, at: int) -> bool:
    return at == 0 or text[at - 1] == "\n"


def _equal(limit: int, is_equal: Callable[[int, int], bool]) -> int:
    """Return the largest number up to the limit for which is_equal holds from 0 on, by halving."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if is_equal(low, middle):
            low = middle
        else:
            high = middle - 1
    return low


def _lines(text: str) -> list[str]:
    lines = text.split("\n")  # not splitlines(): a file's lines end with LF and nothing else
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _marked(mark: str, line: str) -> str:
    return mark + line if line.endswith("\n") else f"{mark}{line}\n{OPEN_END}\n"


def _span(start: int, end: int) -> str:
    count = end - start
    return str(start + 1) if count == 1 else f"{start + (count > 0)},{count}"


def _parsed(diff: str) -> list[tuple[re.Match[str], list[tuple[str, str]]]]:
    parsed: list[tuple[re.Match[str], list[tuple[str, str]]]] = []
    for line in _lines(diff):
        if header := HUNK.match(line):
            parsed.append((header, []))
        elif line.startswith(OPEN_END):
            mark, last = parsed[-1][1][-1]
            parsed[-1][1][-1] = mark, last.removesuffix("\n")
        else:
            parsed[-1][1].append((line[0], line[1:]))
    return parsed


def _found(lines: list[str], wanted: list[str], start: int) -> int | None:
    """Return the first line number, from start on, where these lines are. One search in one string is linear."""
    text = "\n" + "".join(lines[start:])
    offset = text.find("\n" + "".join(wanted)) if wanted else -1
    found = start + text.count("\n", 0, offset)
    return found if offset >= 0 and lines[found : found + len(wanted)] == wanted else None


def _grouped(changed: list[tuple[int, int, int, int]]) -> list[list[tuple[int, int, int, int]]]:
    """Group the changed ranges whose context lines overlap."""
    groups: list[list[tuple[int, int, int, int]]] = []
    for span in changed:
        if groups and span[0] - groups[-1][-1][1] <= 2 * CONTEXT_LINES:
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


def _changed(old: list[str], new: list[str]) -> list[tuple[int, int, int, int]]:
    """Return the ranges (old from, to, new from, to) that differ, in order."""
    start, old_end, new_end = 0, len(old), len(new)
    while start < min(old_end, new_end) and old[start] == new[start]:
        start += 1
    while min(old_end, new_end) > start and old[old_end - 1] == new[new_end - 1]:
        old_end, new_end = old_end - 1, new_end - 1
    changed = []
    i = j = start
    for x, y in [*_matches(old[start:old_end], new[start:new_end]), (old_end - start, new_end - start)]:
        if (i, j) != (start + x, start + y):
            changed.append((i, start + x, j, start + y))
        i, j = start + x + 1, start + y + 1
    return changed


def _matches(old: list[str], new: list[str]) -> list[tuple[int, int]]:
    """Return the pairs of equal lines that a shortest edit keeps (Myers 1986); none if it needs more than MAX_EDITS."""
    rows: list[list[int]] = []  # per number of edits d: the furthest x on each diagonal k = x - y, from -d to d
    if not old or not new:
        return []
    for edits in range(MAX_EDITS + 1):
        row = []
        for k in range(-edits, edits + 1, 2):
            x = _step(rows[-1], edits, k)[0] if rows else 0
            y = x - k
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x, y = x + 1, y + 1
            row.append(x)
            if x >= len(old) and y >= len(new):
                return _walked_back(rows, x, y)
        rows.append(row)
    return []


def _step(before: list[int], edits: int, k: int) -> tuple[int, int]:
    """Return (x, previous diagonal) of the step that enters diagonal k with this many edits."""
    at = (k + edits) // 2
    if k == -edits or (k != edits and before[at - 1] < before[at]):
        return before[at], k + 1
    return before[at - 1] + 1, k - 1


def _walked_back(rows: list[list[int]], x: int, y: int) -> list[tuple[int, int]]:
    matches = []
    for edits in range(len(rows), -1, -1):
        k = x - y
        entered, came_from = _step(rows[edits - 1], edits, k) if edits else (0, 0)
        while x > entered:
            x, y = x - 1, y - 1
            matches.append((x, y))
        if edits:
            x = entered if came_from > k else entered - 1
            y = x - came_from
    return matches[::-1]
