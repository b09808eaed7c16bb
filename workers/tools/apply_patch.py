"""apply_patch: files of the workspace, changed by a patch, all of it or nothing."""

from __future__ import annotations

import secrets
import stat as modes
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import ToolError
from shared.protocol import frames
from workers.sandbox import files
from workers.tools import diff, patch_grammar
from workers.tools.base import Call, Outcome, Plan, Question, ToolContext
from workers.tools.places import Place, place

NAME = "apply_patch"
PURE = False

MAX_FILE_BYTES = 1024 * 1024
MAX_TOTAL_BYTES = 4 * 1024 * 1024  # old and new contents together: they travel to every client inside the item

MAX_NAMED = 5  # paths in a question's reason; the item has them all

SPEC: dict[str, Any] = {
    "type": "custom",
    "name": NAME,
    "description": """\
Change text files. The input is a patch, not JSON:

*** Begin Patch
*** Add File: path/new.py
+every line of the new file behind a plus
*** Update File: path/old.py
@@ def function_that_holds_theplace():
 a line that stays
-a line that goes
+a line that comes
*** Delete File: path/obsolete.py
*** End Patch

"*** Move to: path" right behind an Update File line renames the file. Give about three unchanged lines before and
after each change, copied exactly; where they are not unique, put "@@ " and a whole earlier line in front, several if
needed. "*** End of File" behind a change pins it to the end of the file. Paths are relative to the working directory.
Name each file once. The patch is applied as a whole or not at all.""",
    "format": {
        "type": "grammar",
        "syntax": "lark",
        "definition": """\
start: "*** Begin Patch" LF change+ "*** End Patch" LF?
change: add | delete | update
add: "*** Add File: " PATH LF (ADDED LF)+
delete: "*** Delete File: " PATH LF
update: "*** Update File: " PATH LF (move hunk* | hunk+)
move: "*** Move to: " PATH LF
hunk: (ANCHOR LF)* (LINE LF)+ ("*** End of File" LF)?
PATH: /.+/
ADDED: /\\+.*/
ANCHOR: /@@( .+)?/
LINE: /[ +-].*/
%import common.LF
""",
    },
}


@dataclass(frozen=True, slots=True)
class Edit:
    """What happens to one file.

    old: its content now, None: there is no file
    new: its content afterwards, None: there is none
    to:  where the new content goes; source itself unless the file moves
    """

    source: Place
    to: Place
    old: str | None
    new: str | None

    @property
    def letter(self) -> str:
        return "A" if self.old is None else "D" if self.new is None else "M"


def plan(call: Call, ctx: ToolContext) -> Plan:
    """Item `fileChange` with what would change now (PROTOCOL 3.3); data: [Edit].

    The question names the files that the sandbox does not let us write, if any (PROTOCOL 8.2).
    """
    edits = _edits(patch_grammar.parse(_patch(call.arguments)), ctx)
    paths = list(dict.fromkeys(path for edit in edits for path in (edit.source.path, edit.to.path)))
    outside = [str(path) for path in paths if not ctx.sandbox.may_write(path)]
    question = Question(
        why=f"writes outside of the sandbox: {', '.join(outside[:MAX_NAMED])}" if outside else None,
        keys=tuple(f"{NAME}:{path}" for path in paths),
        escalates=bool(outside),
    )
    item = {"type": "fileChange", "changes": [_wire(edit) for edit in edits], "status": "inProgress"}
    return Plan(call, item, question, edits)


def run(plan: Plan, ctx: ToolContext) -> Outcome:
    """Apply all edits or none: after an error, or when a file changed since plan(), everything is as it was."""
    begin = time.monotonic()
    edits: list[Edit] = plan.data
    for edit in edits:
        for path in (edit.source.path, edit.to.path):
            if not ctx.sandbox.may_write(path):
                raise ToolError(f"the sandbox does not let this thread write {path}")
        if _content(edit.source) != edit.old or (edit.to != edit.source and _content(edit.to) is not None):
            raise ToolError(f"{edit.source.path} has changed since the patch was read; nothing was changed")
    _apply(edits)
    listed = [f"{letter} {_name(edit.to, ctx)}" for letter in "AMD" for edit in edits if edit.letter == letter]
    seconds = round(time.monotonic() - begin, 1)
    output = "\n".join(["Success. Updated the following files:", *listed, ""])
    return Outcome(
        f"Exit code: 0\nWall time: {seconds:g} seconds\nOutput:\n{output}",
        item={**(plan.item or {}), "status": "completed"},
    )


def turn_diff(calls: Iterable[list[dict[str, Any]]], ctx: ToolContext) -> str:
    """`diff` of `turn/diff/updated`. calls: `changes` of the turn's completed fileChange items, oldest first."""
    return diff.turn_diff(calls, ctx.cwd, lambda path: _content(place(path, ctx)))


def _patch(arguments: str) -> str:
    """The patch of a custom call (the text itself) or of a function call ({"input": text})."""
    if not arguments.lstrip().startswith("{"):
        return arguments
    try:
        given = frames.decode(arguments.encode(errors="replace"))
    except ValueError as error:
        raise ToolError(f"apply_patch: the arguments are not JSON: {error}") from None
    if not isinstance(given, dict) or not isinstance(patch := given.get("input"), str):
        raise ToolError('apply_patch: expected {"input": the patch as text}')
    return patch


def _edits(changes: list[patch_grammar.Change], ctx: ToolContext) -> list[Edit]:
    edits: list[Edit] = []
    seen: set[Path] = set()
    total_bytes = 0
    for change in changes:
        source = to = place(change.path, ctx)
        if isinstance(change, patch_grammar.Update) and change.move_to is not None:
            to = place(change.move_to, ctx)
        for path in [source.path] + [to.path] * (to is not source):
            if path in seen:
                raise ToolError(f"{path}: named twice; put all that happens to a file under one heading")
            seen.add(path)
        old, new = _content(source), None
        if isinstance(change, patch_grammar.Add):
            if old is not None:
                raise ToolError(f"{change.path}: exists already; use '{patch_grammar.UPDATE}'")
            new = change.content
        elif old is None:
            raise ToolError(f"{change.path}: no such file")
        elif isinstance(change, patch_grammar.Update):
            if to is not source and _content(to) is not None:
                raise ToolError(f"{change.move_to}: exists already; delete it first")
            new = patch_grammar.updated(old, change.hunks, change.path)
            if new == old and to is source:
                raise ToolError(f"{change.path}: the patch changes nothing in it")
        if _size(new) > MAX_FILE_BYTES:
            raise ToolError(f"{change.path}: would be larger than {MAX_FILE_BYTES} bytes")
        total_bytes += _size(old) + _size(new)
        if total_bytes > MAX_TOTAL_BYTES:
            raise ToolError(f"the patch touches more than {MAX_TOTAL_BYTES} bytes; split it")
        edits.append(Edit(source, to, old, new))
    return edits


def _wire(edit: Edit) -> dict[str, Any]:
    kind: dict[str, str | None]
    if edit.old is None:
        kind, shown = {"type": "add"}, edit.new
    elif edit.new is None:
        kind, shown = {"type": "delete"}, edit.old
    else:
        move_path = str(edit.to.path) if edit.to is not edit.source else None
        kind, shown = {"type": "update", "move_path": move_path}, diff.hunks(edit.old, edit.new)
    return {"path": str(edit.source.path), "kind": kind, "diff": shown}


def _content(at: Place) -> str | None:
    """The text of a file, None when that name is free; ToolError for all that is no plain UTF-8 file."""
    for part in [*reversed(at.relative.parents), at.relative]:
        try:
            found = files.stat(at.root, part, follow_links=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ToolError(f"{at.path}: {error.strerror}") from None
        if modes.S_ISLNK(found.st_mode):
            raise ToolError(f"{at.path}: {part} is a symbolic link; name the real path")
    try:
        return files.read_bytes(at.root, at.relative, MAX_FILE_BYTES).decode()
    except UnicodeDecodeError:
        raise ToolError(f"{at.path}: not a text file in UTF-8") from None
    except OSError as error:
        raise ToolError(f"{at.path}: {error.strerror}") from None


def _apply(edits: list[Edit]) -> None:
    undo: list[tuple[Path, Callable[[], None]]] = []
    aside: list[Place] = []
    at = Path()
    try:
        for edit in edits:
            at = edit.to.path
            if edit.new is not None:
                _write(edit.to, edit.new, edit.old if edit.to is edit.source else None, undo)
            if edit.new is None or edit.to is not edit.source:
                at = edit.source.path
                aside.append(_put_aside(edit.source, undo))
    except (OSError, ToolError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        kept = [str(path) for path, step in reversed(undo) if not _undone(step)]
        left = f"these files could not be put back: {', '.join(kept)}" if kept else "nothing was changed"
        raise ToolError(f"{at}: {reason}; {left}") from None
    for old in aside:
        with suppress(OSError, ToolError):  # the patch is applied; what stays is a file under a meaningless name
            files.unlink(old.root, old.relative)


def _write(at: Place, new: str, old: str | None, undo: list[tuple[Path, Callable[[], None]]]) -> None:
    files.make_folders(at.root, at.relative.parent)
    files.write_bytes(at.root, at.relative, new.encode(errors="replace"))
    if old is None:
        undo.append((at.path, lambda: files.unlink(at.root, at.relative)))
    else:
        undo.append((at.path, lambda: files.write_bytes(at.root, at.relative, old.encode())))


def _put_aside(at: Place, undo: list[tuple[Path, Callable[[], None]]]) -> Place:
    """Renamed, not deleted: so that going back needs no room on the disk and keeps the file's mode."""
    aside = Place(at.path.with_name(f".{secrets.token_hex(8)}.tmp"), at.root)
    files.rename(at.root, at.relative, aside.relative)
    undo.append((at.path, lambda: files.rename(at.root, aside.relative, at.relative)))
    return aside


def _undone(step: Callable[[], None]) -> bool:
    try:
        step()
    except (OSError, ToolError):
        return False
    return True


def _size(text: str | None) -> int:
    return len((text or "").encode(errors="replace"))


def _name(at: Place, ctx: ToolContext) -> str:
    return str(at.path.relative_to(ctx.cwd) if at.path.is_relative_to(ctx.cwd) else at.path)
