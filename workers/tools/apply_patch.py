"""apply_patch: change files of the workspace by a patch, which is applied as a whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from shared.errors import ToolError
from shared.protocol.items import FileChange, FileUpdate
from shared.protocol.model_items import ToolDefinition
from workers.tools import diff, patch_grammar
from workers.tools.arguments import read_arguments
from workers.tools.base import ApprovalRequirement, PreparedCall, ToolCall, ToolContext, ToolResult
from workers.tools.patch_target import PatchTarget, patch_target
from workers.tools.patched_files import MAX_FILE_BYTES, Edit, PatchedFiles, apply_edits, as_text, content, is_utf8

NAME = "apply_patch"
PURE = False
PARALLEL = False

MAX_TOTAL_BYTES = 64 * 1024 * 1024  # old and new contents together, which are in memory at once

MAX_NAMED = 5  # paths in the reason of an approval request; the item has them all

SPEC: ToolDefinition = {
    "type": "custom",
    "name": NAME,
    "description": """\
Change text files. The input is a patch, not JSON:

*** Begin Patch
*** Add File: path/new.py
+every line of the new file behind a plus
*** Update File: path/old.py
@@ def function_that_holds_the_change():
 a line that stays
-a line that goes
+a line that comes
*** Delete File: path/obsolete.py
*** End Patch

"*** Move to: path" right behind an Update File line renames the file. Give about three unchanged lines before and
after each change, copied exactly; where they are not unique, put "@@ " and a whole earlier line in front, several if
needed. "*** End of File" behind a change pins it to the end of the file. Paths are relative to the working directory.
Changes are made in the order of the patch, which is applied as a whole or not at all.""",
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
class PreparedPatch:
    """Edits in their order; the files as they were found; and the folder to which the output's paths are relative."""

    edits: list[Edit]
    files: PatchedFiles
    cwd: Path


def prepare(call: ToolCall, ctx: ToolContext) -> PreparedCall:
    """Prepare the call. Item: `fileChange` with what would change now (PROTOCOL 3.3); data: [Edit].

    The approval names the files that the sandbox does not let the thread write, if any (PROTOCOL 8.2).
    """
    found = PatchedFiles(ctx)
    edits = _edits(patch_grammar.parse(patch_of(call.arguments)), found)
    targets = list(dict.fromkeys(target for edit in edits for target in (edit.source, edit.to)))
    paths = list(dict.fromkeys(target.path for target in targets))
    outside = [str(target.path) for target in targets if not _may_write(target, ctx)]
    requirement = ApprovalRequirement(
        reason=f"writes outside of the sandbox: {', '.join(outside[:MAX_NAMED])}" if outside else None,
        keys=tuple(f"{NAME}:{path}" for path in paths),
        escalates=bool(outside),
    )
    item: FileChange = {
        "type": "fileChange",
        "changes": [change for edit in edits for change in _wire(edit)],
        "status": "inProgress",
    }
    return PreparedCall(call, item, requirement, PreparedPatch(edits, found, ctx.cwd))


def run(prepared: PreparedCall, ctx: ToolContext) -> ToolResult:
    """Apply all edits or none: after an error, or when a file changed since prepare(), all files are as they were."""
    began_at = time.monotonic()
    patch: PreparedPatch = prepared.data
    for target in dict.fromkeys(target for edit in patch.edits for target in (edit.source, edit.to)):
        if not _may_write(target, ctx):
            raise ToolError(f"the sandbox does not let this thread write {target.path}")
    patch.files.check_unchanged()
    apply_edits(patch.edits)
    listed = [f"{mark} {_name(edit.to, patch.cwd)}" for mark in "AMD" for edit in patch.edits if edit.mark == mark]
    seconds = round(time.monotonic() - began_at, 1)
    output = "\n".join(["Success. Updated the following files:", *listed, ""])
    return ToolResult(
        f"Exit code: 0\nWall time: {seconds:g} seconds\nOutput:\n{output}",
        item=cast(FileChange, {**cast(FileChange, prepared.item), "status": "completed"}),
    )


def turn_diff(calls: Iterable[Sequence[FileUpdate]], ctx: ToolContext) -> str:
    """Return `diff` of `turn/diff/updated`. calls: `changes` of the turn's completed fileChange items, oldest first."""
    behind_links = [[_behind_links(change, ctx) for change in call] for call in calls]
    return diff.turn_diff(behind_links, ctx.cwd, lambda path: as_text(content(patch_target(path, ctx).file)))


def _behind_links(change: FileUpdate, ctx: ToolContext) -> FileUpdate:
    """Return a change that names the file itself and no link to it, because `git apply` follows no links."""

    def real(path: str) -> str:
        try:
            return str(patch_target(path, ctx).file.path)
        except ToolError:
            return path

    kind = change["kind"]
    move_path = kind.get("move_path")
    return {
        **change,
        "path": real(change["path"]),
        "kind": {**kind, "move_path": real(move_path)} if move_path else kind,
    }


def patch_of(arguments: str) -> str:
    """Return the patch of a custom call (the text itself) or of a function call ({"input": text}). Errors: ToolError"""
    if not arguments.lstrip().startswith("{"):
        return arguments
    if not isinstance(patch := read_arguments(arguments, NAME).get("input"), str):
        raise ToolError('apply_patch: expected {"input": the patch as text}')
    return patch


def _edits(changes: list[patch_grammar.Change], found: PatchedFiles) -> list[Edit]:
    edits: list[Edit] = []
    total_bytes = 0
    for change in changes:
        edit = _edit(change, found)
        if _size(edit.new) > MAX_FILE_BYTES:
            raise ToolError(f"{change.path}: would be larger than {MAX_FILE_BYTES} bytes")
        total_bytes += _size(edit.old) + _size(edit.new) + (_size(edit.replaced) if edit.to != edit.source else 0)
        if total_bytes > MAX_TOTAL_BYTES:
            raise ToolError(f"the patch touches more than {MAX_TOTAL_BYTES} bytes; split it")
        found.apply(edit)
        edits.append(edit)
    return edits


def _edit(change: patch_grammar.Change, found: PatchedFiles) -> Edit:
    source = to = found.target(change.path)
    old = found.content(source)
    if isinstance(change, patch_grammar.Add):
        found.check_writable(source)
        return Edit("A", source, source, old, change.content, old)
    if old is None:
        raise ToolError(f"{change.path}: no such file")
    if isinstance(change, patch_grammar.Delete):
        return Edit("D", source, source, old, None, old)
    if change.move_to is not None and (target := found.target(change.move_to)).file != source.file:
        to = target
    found.check_writable(to)
    new = patch_grammar.updated(found.text(source), change.hunks, change.path)
    if new == old and to is source:
        raise ToolError(f"{change.path}: the patch changes nothing in it")
    if not is_utf8(old) and not all(line.isascii() for line in _new_lines(change)):
        raise ToolError(f"{change.path}: is not UTF-8, so a patch can only add ASCII lines; edit it by a command")
    return Edit("M", source, to, old, new, found.content(to))


def _new_lines(change: patch_grammar.Update) -> list[str]:
    return [line for hunk in change.hunks for kind, line in hunk.lines if kind == "+"]


def _wire(edit: Edit) -> list[FileUpdate]:
    """Return an edit as clients see it. An existing file that is overwritten is shown as changed or deleted."""
    path = str(edit.source.path)
    old, new, replaced = as_text(edit.old), as_text(edit.new), as_text(edit.replaced)
    if old is None:
        return [{"path": path, "kind": {"type": "add"}, "diff": new or ""}]
    if new is None:
        return [{"path": path, "kind": {"type": "delete"}, "diff": diff.shown(old)}]
    moves = edit.to is not edit.source
    update: FileUpdate = {
        "path": path,
        "kind": {"type": "update", "move_path": str(edit.to.path) if moves else None},
        "diff": diff.hunks(old, new),
    }
    if not moves or replaced is None:
        return [update]
    return [{"path": str(edit.to.path), "kind": {"type": "delete"}, "diff": diff.shown(replaced)}, update]


def _may_write(target: PatchTarget, ctx: ToolContext) -> bool:
    """Return whether the thread may write a file, and where its name is a link, the folder of that link, too."""
    return ctx.sandbox.may_write(target.file.path) and (
        not target.is_link or ctx.sandbox.may_write(target.entry.path.parent)
    )


def _size(text: str | None) -> int:
    return len((text or "").encode(errors="surrogateescape"))


def _name(target: PatchTarget, cwd: Path) -> str:
    return str(target.path.relative_to(cwd) if target.path.is_relative_to(cwd) else target.path)
