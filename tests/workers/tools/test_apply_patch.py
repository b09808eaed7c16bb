"""apply_patch: a patch is applied as a whole or not at all, and never outside of what the thread may touch."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from shared.errors import ToolError
from tests.workers.tools.context import make_call, make_context
from workers.tools import apply_patch
from workers.tools.base import PreparedCall, ToolContext, ToolResult
from workers.tools.patched_files import MAX_FILE_BYTES


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "project"
    folder.mkdir()
    return folder


def patch(*lines: str) -> str:
    return "\n".join(["*** Begin Patch", *lines, "*** End Patch", ""])


def prepare(ctx: ToolContext, *lines: str) -> PreparedCall:
    return apply_patch.prepare(make_call("apply_patch", patch(*lines)), ctx)


def apply(ctx: ToolContext, *lines: str) -> ToolResult:
    return apply_patch.run(prepare(ctx, *lines), ctx)


UPDATE_F = ["*** Update File: f", "@@"]
A_TO_B = ["@@", "-a", "+b"]


def moved(name: str, to: str) -> list[str]:
    return [f"*** Update File: {name}", f"*** Move to: {to}"]


def make_files(folder: Path, contents: dict[str, bytes | str]) -> None:
    """Make files with these bytes, and links to these names."""
    for name, content in contents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        if isinstance(content, str):
            (folder / name).symlink_to(content)
        else:
            (folder / name).write_bytes(content)
        if name == "fixed":
            (folder / name).chmod(0o444)


def found_files(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_bytes().decode() for p in folder.rglob("*") if p.is_file()}


def test_patch_adds_updates_moves_and_deletes(cwd: Path) -> None:
    (cwd / "u.txt").write_text("one\n")
    (cwd / "m.txt").write_text("same\n")
    (cwd / "d.txt").write_text("gone\n")

    outcome = apply(
        make_context(cwd),
        "*** Delete File: d.txt",
        "*** Add File: new/deep/a.txt",
        "+hello",
        "+world",
        "*** Update File: u.txt",
        "@@",
        "-one",
        "+two",
        "*** Update File: m.txt",
        "*** Move to: sub/n.txt",
    )

    assert tree(cwd) == {"new/deep/a.txt": "hello\nworld\n", "u.txt": "two\n", "sub/n.txt": "same\n"}
    assert re.fullmatch(
        r"Exit code: 0\nWall time: [0-9.]+ seconds\nOutput:\nSuccess. Updated the following files:\n"
        r"A new/deep/a.txt\nM u.txt\nM sub/n.txt\nD d.txt\n",
        str(outcome.output),
    )
    assert outcome.item == {
        "type": "fileChange",
        "changes": [
            {"path": str(cwd / "d.txt"), "kind": {"type": "delete"}, "diff": "gone\n"},
            {"path": str(cwd / "new/deep/a.txt"), "kind": {"type": "add"}, "diff": "hello\nworld\n"},
            {
                "path": str(cwd / "u.txt"),
                "kind": {"type": "update", "move_path": None},
                "diff": "@@ -1 +1 @@\n-one\n+two\n",
            },
            {
                "path": str(cwd / "m.txt"),
                "kind": {"type": "update", "move_path": str(cwd / "sub/n.txt")},
                "diff": "",
            },
        ],
        "status": "completed",
    }


def test_prepare_changes_nothing_and_shows_what_would_change(cwd: Path) -> None:
    made = prepare(make_context(cwd), "*** Add File: a.txt", "+hello", "+world")

    assert tree(cwd) == {}
    assert made.item == {
        "type": "fileChange",
        "changes": [{"path": str(cwd / "a.txt"), "kind": {"type": "add"}, "diff": "hello\nworld\n"}],
        "status": "inProgress",
    }
    assert made.requirement is not None
    assert (made.requirement.escalates, made.requirement.reason) == (False, None)
    assert made.requirement.keys == (f"apply_patch:{cwd / 'a.txt'}",)


def test_function_call_has_the_patch_as_input(cwd: Path) -> None:
    ctx = make_context(cwd)
    call = make_call("apply_patch", json.dumps({"input": patch("*** Add File: a", "+x")}))

    apply_patch.run(apply_patch.prepare(call, ctx), ctx)

    assert tree(cwd) == {"a": "x\n"}


@pytest.mark.parametrize("arguments", ["{", "{}", '{"input": 1}', '{"input": ""}'])
def test_function_call_without_a_patch_is_refused(cwd: Path, arguments: str) -> None:
    with pytest.raises(ToolError):
        apply_patch.prepare(make_call("apply_patch", arguments), make_context(cwd))


def test_update_keeps_mode_and_line_ends(cwd: Path) -> None:
    script = cwd / "run.sh"
    script.write_bytes(b"#!/bin/sh\r\necho one")
    script.chmod(0o755)

    apply(make_context(cwd), "*** Update File: run.sh", "@@", "-echo one", "+echo two")

    assert script.read_bytes() == b"#!/bin/sh\r\necho two"
    assert script.stat().st_mode & 0o777 == 0o755


def test_absolute_path_below_a_writable_root_is_allowed(cwd: Path, tmp_path: Path) -> None:
    other = tmp_path.resolve() / "other"
    other.mkdir()

    outcome = apply(make_context(cwd, writable_roots=(other,)), f"*** Add File: {other}/a", "+x")

    assert tree(other) == {"a": "x\n"}
    assert isinstance(outcome.output, str)
    assert outcome.output.endswith(f"\nA {other}/a\n")


THIRD_FAILS = {
    "missing file": ["*** Update File: c", "@@", "-x", "+y"],
    "missing lines": ["*** Update File: kept", "@@", "-x", "+y"],
    "missing file to delete": ["*** Delete File: c"],
    "deleted before": ["*** Delete File: last", "*** Update File: last", "@@", "-l", "+y"],
    "moved away before": ["*** Update File: last", "*** Move to: b", "*** Delete File: last"],
    "read-only": ["*** Update File: fixed", "@@", "-f", "+y"],
    "read-only, overwritten": ["*** Add File: fixed", "+y"],
    "read-only, target of a move": ["*** Update File: kept", "*** Move to: fixed"],
    "moved onto itself": ["*** Update File: kept", "*** Move to: kept"],
    "nothing changes": ["*** Update File: kept", "@@", " k"],
    "a folder": ["*** Delete File: folder"],
    "not UTF-8": ["*** Update File: binary", "@@", "-x", "+y"],
    "too big": ["*** Delete File: big"],
    "a FIFO": ["*** Delete File: pipe"],
}


@pytest.mark.parametrize("lines", THIRD_FAILS.values(), ids=THIRD_FAILS)
def test_invalid_change_leaves_all_other_files_unchanged(cwd: Path, lines: list[str]) -> None:
    (cwd / "u").write_text("one\n")
    (cwd / "kept").write_text("k\n")
    (cwd / "last").write_text("l\n")
    (cwd / "folder").mkdir()
    (cwd / "binary").write_bytes(b"\xff\xfex\0\n\0")
    (cwd / "fixed").write_text("f\n")
    (cwd / "fixed").chmod(0o444)
    (cwd / "big").write_text("x" * (MAX_FILE_BYTES + 1))
    os.mkfifo(cwd / "pipe")
    before = {p: p.stat().st_mtime_ns for p in cwd.rglob("*")}

    with pytest.raises(ToolError):
        apply(make_context(cwd), "*** Add File: a", "+x", "*** Update File: u", "@@", "-one", "+two", *lines)

    assert {p: p.stat().st_mtime_ns for p in cwd.rglob("*")} == before


def test_failed_write_restores_all_other_files(cwd: Path) -> None:
    (cwd / "u").write_text("one\n")
    (cwd / "d").write_text("old\n")
    (cwd / "file").write_text("in the way\n")
    (cwd / "u").chmod(0o740)
    (cwd / "d").chmod(0o750)
    before = tree(cwd)

    with pytest.raises(ToolError, match="Not a directory; nothing was changed"):
        apply(
            make_context(cwd),
            *("*** Add File: a", "+x"),
            *("*** Update File: u", "@@", "-one", "+two"),
            "*** Delete File: d",
            *("*** Add File: file/below", "+x"),
        )

    assert tree(cwd) == before
    assert [(cwd / name).stat().st_mode & 0o777 for name in "ud"] == [0o740, 0o750]


BOM = b"\xef\xbb\xbf"
# name: (files before, lines of the patch, files afterwards); a text is what a link leads to
APPLIED: dict[str, tuple[dict[str, bytes | str], list[str], dict[str, bytes | str]]] = {
    "byte order mark": ({"f": BOM + b"import x\n"}, [*UPDATE_F, "-import x", "+import y"], {"f": BOM + b"import y\n"}),
    "mixed line ends": ({"f": b"a\n b\r\n c\r\n"}, [*UPDATE_F, "- c", "+d", "+e"], {"f": b"a\n b\r\nd\r\ne\r\n"}),
    "Latin-1": ({"f": b"caf\xe9\nb\n"}, [*UPDATE_F, " caf\ufffd", "-b", "+c"], {"f": b"caf\xe9\nc\n"}),
    "Latin-1, moved": ({"f": b"caf\xe9\n"}, ["*** Update File: f", "*** Move to: g"], {"g": b"caf\xe9\n"}),
    "Latin-1, deleted": ({"f": b"caf\xe9\n"}, ["*** Delete File: f"], {}),
    "binary, deleted": ({"f": bytes(range(256))}, ["*** Delete File: f"], {}),
    "NUL": ({"f": b"a\0b\nc\n"}, [*UPDATE_F, "-c", "+d"], {"f": b"a\0b\nd\n"}),
    "back by ..": ({"f": b"a\n", "d/x": b""}, ["*** Update File: d/../f", *A_TO_B], {"f": b"b\n", "d/x": b""}),
    "back by .. from no folder": ({"f": b"a\n"}, ["*** Update File: no/../f", *A_TO_B], {"f": b"b\n"}),
    "linked file": ({"f": b"a\n", "l": "f"}, ["*** Update File: l", *A_TO_B], {"f": b"b\n", "l": "f"}),
    "linked folder": ({"d/f": b"a\n", "l": "d"}, ["*** Update File: l/f", *A_TO_B], {"d/f": b"b\n", "l": "d"}),
    "added in a linked folder": (
        {"d/f": b"", "l": "d"},
        ["*** Add File: l/n", "+x"],
        {"d/f": b"", "d/n": b"x\n", "l": "d"},
    ),
    "added through a link": ({"f": b"a\n", "l": "f"}, ["*** Add File: l", "+x"], {"f": b"x\n", "l": "f"}),
    "added through a link to nothing": ({"l": "n"}, ["*** Add File: l", "+x"], {"n": b"x\n", "l": "n"}),
    "deleted link": ({"f": b"a\n", "l": "f"}, ["*** Delete File: l"], {"f": b"a\n"}),
    "moved link": (
        {"f": b"a\n", "l": "f"},
        ["*** Update File: l", "*** Move to: g", *A_TO_B],
        {"f": b"a\n", "g": b"b\n"},
    ),
    "moved onto a link": (
        {"f": b"a\n", "g": b"", "l": "g"},
        ["*** Update File: f", "*** Move to: l"],
        {"g": b"a\n", "l": "g"},
    ),
    "link replaced by a file": (
        {"f": b"a\n", "l": "f"},
        ["*** Delete File: l", "*** Add File: l", "+x"],
        {"f": b"a\n", "l": b"x\n"},
    ),
    "added onto a file": ({"f": b"old\r\n"}, ["*** Add File: f", "+new"], {"f": b"new\n"}),
    "moved onto a file": ({"f": b"a\n", "g": b"g\n"}, ["*** Update File: f", "*** Move to: g", *A_TO_B], {"g": b"b\n"}),
    "moved onto itself": ({"f": b"a\n"}, ["*** Update File: f", "*** Move to: ./f", *A_TO_B], {"f": b"b\n"}),
    "updated twice": ({"f": b"a\nx\n"}, [*UPDATE_F, "-x", "+y", *UPDATE_F, "-y", "+z"], {"f": b"a\nz\n"}),
    "deleted, then added": ({"f": b"a\n"}, ["*** Delete File: f", "*** Add File: f", "+x"], {"f": b"x\n"}),
    "added, then updated": ({}, ["*** Add File: f", "+a", "*** Update File: f", *A_TO_B], {"f": b"b\n"}),
    "added, then deleted": ({}, ["*** Add File: f", "+a", "*** Delete File: f"], {}),
    "moved, then updated": (
        {"f": b"a\n"},
        ["*** Update File: f", "*** Move to: g", "*** Update File: g", *A_TO_B],
        {"g": b"b\n"},
    ),
    "exchanged": (
        {"f": b"f\n", "g": b"g\n"},
        [*moved("f", "t"), *moved("g", "f"), *moved("t", "g")],
        {"f": b"g\n", "g": b"f\n"},
    ),
    "read-only, deleted": ({"fixed": b"a\n"}, ["*** Delete File: fixed"], {}),
}


@pytest.mark.parametrize(("before", "lines", "after"), APPLIED.values(), ids=APPLIED)
def test_patch_leaves_these_files(
    cwd: Path, before: dict[str, bytes | str], lines: list[str], after: dict[str, bytes | str]
) -> None:
    make_files(cwd, before)

    apply(make_context(cwd), *lines)

    assert found_files(cwd) == after


@pytest.mark.parametrize(("before", "lines"), [case[:2] for case in APPLIED.values()], ids=APPLIED)
def test_failed_patch_restores_these_files(cwd: Path, before: dict[str, bytes | str], lines: list[str]) -> None:
    make_files(cwd, {**before, "file": b"in the way\n"})

    with pytest.raises(ToolError, match="nothing was changed"):
        apply(make_context(cwd), *lines, "*** Add File: file/below", "+x")

    assert found_files(cwd) == {**before, "file": b"in the way\n"}


def test_turn_diff_can_be_applied_to_what_was_overwritten(cwd: Path) -> None:
    make_files(cwd, {"f": b"a\n", "g": b"g\n", "h": b"old\n", "x": b"x\n", "l": "x"})
    shutil.copytree(cwd, before := cwd.with_name("before"), symlinks=True)
    ctx = make_context(cwd)

    outcome = apply(
        ctx,
        *("*** Update File: f", "*** Move to: g", *A_TO_B),
        *("*** Add File: h", "+new"),
        *("*** Update File: l", "-x", "+y"),
    )

    assert isinstance(outcome.item, dict)
    diff = apply_patch.turn_diff([outcome.item["changes"]], ctx)
    subprocess.run(["git", "apply", "-"], cwd=before, input=diff.encode(), check=True)
    assert found_files(before) == found_files(cwd) == {"g": b"b\n", "h": b"new\n", "x": b"y\n", "l": "x"}


def test_overwritten_file_is_shown_to_who_approves(cwd: Path) -> None:
    make_files(cwd, {"f": b"a\n", "g": b"g\n", "h": b"old\n"})

    made = prepare(make_context(cwd), *moved("f", "g"), "*** Add File: h", "+new")

    assert made.item is not None
    assert [(change["path"], change["kind"]["type"], change["diff"]) for change in made.item["changes"]] == [
        (str(cwd / "g"), "delete", "g\n"),
        (str(cwd / "f"), "update", ""),
        (str(cwd / "h"), "update", "@@ -1 +1 @@\n-old\n+new\n"),
    ]


def test_file_of_many_megabytes_can_be_changed(cwd: Path) -> None:
    (cwd / "f").write_text("line\n" * 3_000_000 + "last\n")

    outcome = apply(make_context(cwd), *UPDATE_F, "-last", "+LAST")

    assert (cwd / "f").read_text() == "line\n" * 3_000_000 + "LAST\n"
    assert isinstance(outcome.item, dict)
    assert outcome.item["changes"][0]["diff"] == ("@@ -2999998,4 +2999998,4 @@\n line\n line\n line\n-last\n+LAST\n")


REFUSALS = {
    "16 MiB": (b"x" * (MAX_FILE_BYTES + 1), "-x", f"larger than {16 * 1024 * 1024} bytes"),
    "UTF-16": ("x\n".encode("utf-16"), "-x", "f: is UTF-16, which patches cannot edit; convert it to UTF-8"),
    "other letters": (b"caf\xe9\nx\n", "-x", "f: is not UTF-8, so a patch can only add ASCII lines"),
}


@pytest.mark.parametrize(("data", "line", "message"), REFUSALS.values(), ids=REFUSALS)
def test_file_that_cannot_be_edited_is_named_with_the_reason(cwd: Path, data: bytes, line: str, message: str) -> None:
    (cwd / "f").write_bytes(data)

    with pytest.raises(ToolError, match=re.escape(message)):
        apply(make_context(cwd), *UPDATE_F, line, "+é")

    assert (cwd / "f").read_bytes() == data


def test_deletion_of_a_long_file_is_not_sent_to_clients(cwd: Path) -> None:
    (cwd / "f").write_bytes(b"x\n" * (4 * 1024 * 1024))
    ctx = make_context(cwd)

    outcome = apply(ctx, "*** Delete File: f")

    assert isinstance(outcome.item, dict)
    assert outcome.item["changes"][0]["diff"] == "(this change is too long to be shown)\n"
    assert apply_patch.turn_diff([outcome.item["changes"]], ctx) == "diff --git a/f b/f\n"


def test_moved_file_keeps_its_mode(cwd: Path) -> None:
    (cwd / "f").write_text("a\n")
    (cwd / "f").chmod(0o750)

    apply(make_context(cwd), "*** Update File: f", "*** Move to: g", *A_TO_B)

    assert (cwd / "g").stat().st_mode & 0o777 == 0o750


def test_link_that_changed_after_prepare_is_not_deleted(cwd: Path) -> None:
    make_files(cwd, {"f": b"a\n", "l": "f"})
    ctx = make_context(cwd)
    made = prepare(ctx, "*** Delete File: l")
    (cwd / "l").unlink()
    (cwd / "l").write_text("by a person\n")

    with pytest.raises(ToolError, match="has changed"):
        apply_patch.run(made, ctx)

    assert found_files(cwd) == {"f": b"a\n", "l": b"by a person\n"}


def test_file_that_changed_after_prepare_is_not_overwritten(cwd: Path) -> None:
    (cwd / "u").write_text("one\n")
    ctx = make_context(cwd)
    made = prepare(ctx, "*** Add File: a", "+x", "*** Update File: u", "@@", "-one", "+two")
    (cwd / "u").write_text("one\nby a person\n")

    with pytest.raises(ToolError, match="has changed"):
        apply_patch.run(made, ctx)

    assert tree(cwd) == {"u": "one\nby a person\n"}


BAD_PATHS = {
    "parent": "../a",
    "parent inside": "x/../../a",
    "folder itself": ".",
    "root": "/",
    "NUL": "a\0b",
    "escape": "a\x1b[2Jb",
    "line separator": "a\u2028b",
    "long name": "x" * 256,
    "long path": "/".join(["x" * 250] * 17),
    "long in bytes": "é" * 200,
}


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS)
def test_invalid_path_is_refused(cwd: Path, path: str) -> None:
    for sandbox in ("workspaceWrite", "dangerFullAccess"):
        with pytest.raises(ToolError):
            prepare(make_context(cwd, sandbox), f"*** Add File: {path}", "+x")


ESCAPES = {
    "through a linked folder": ["*** Add File: link/a", "+x"],
    "update through a linked folder": ["*** Update File: link/secret", "@@", "-secret", "+x"],
    "move into a linked folder": ["*** Update File: f", "*** Move to: link/a"],
    "update a linked file": ["*** Update File: linked", "@@", "-secret", "+x"],
    "delete a linked file": ["*** Delete File: linked"],
    "add where a dangling link is": ["*** Add File: dangling", "+x"],
    "move a linked file": ["*** Update File: linked", "*** Move to: f2"],
    "through two links": ["*** Add File: inner/link/a", "+x"],
}


@pytest.mark.parametrize("lines", ESCAPES.values(), ids=ESCAPES)
def test_links_that_lead_out_are_refused(cwd: Path, tmp_path: Path, lines: list[str]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret\n")
    (cwd / "f").write_text("f\n")
    (cwd / "folder").mkdir()
    (cwd / "link").symlink_to(outside)
    (cwd / "linked").symlink_to(outside / "secret")
    (cwd / "dangling").symlink_to(outside / "new")
    (cwd / "folder" / "link").symlink_to(outside)
    (cwd / "inner").symlink_to("folder")

    for sandbox in ("workspaceWrite", "dangerFullAccess"):
        with pytest.raises(ToolError) as error:
            prepare(make_context(cwd, sandbox), *lines)
        assert "secret\n" not in str(error.value)

    assert tree(outside) == {"secret": "secret\n"}


def test_folder_replaced_by_a_link_after_prepare_is_refused(cwd: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (cwd / "sub").mkdir()
    ctx = make_context(cwd)
    made = prepare(ctx, "*** Add File: sub/a", "+x")
    (cwd / "sub").rmdir()
    (cwd / "sub").symlink_to(outside)

    with pytest.raises(ToolError):
        apply_patch.run(made, ctx)

    assert tree(outside) == {}


def test_patch_outside_of_the_sandbox_escalates_and_runs_when_allowed(cwd: Path) -> None:
    ctx = make_context(cwd, "readOnly")
    made = prepare(ctx, "*** Add File: a", "+x")

    assert made.requirement is not None
    assert made.requirement.escalates
    assert made.requirement.reason == f"writes outside of the sandbox: {cwd}/a"
    with pytest.raises(ToolError, match="does not let this thread write"):
        apply_patch.run(made, ctx)
    assert tree(cwd) == {}

    apply_patch.run(made, make_context(cwd, "dangerFullAccess"))

    assert tree(cwd) == {"a": "x\n"}


def test_approval_shows_the_resolved_path(cwd: Path) -> None:
    link = Path("/bin") if Path("/bin").is_symlink() else Path("/usr/bin")

    made = prepare(make_context(cwd), f"*** Add File: {link}/threadhouse-probe", "+x")

    assert made.requirement is not None
    assert made.requirement.escalates
    assert made.requirement.keys == (f"apply_patch:{os.path.realpath(link)}/threadhouse-probe",)


def test_path_that_the_thread_may_not_see_is_refused_by_prepare(cwd: Path, tmp_path: Path) -> None:
    neighbour = tmp_path.resolve() / "neighbour"
    neighbour.mkdir()
    (neighbour / "f").write_text("secret\n")

    with pytest.raises(ToolError, match="this thread may not see that path"):
        prepare(make_context(cwd, workspace=cwd), f"*** Update File: {neighbour}/f", "@@", "-guess", "+x")


def test_turn_diff_is_computed_from_items_only(cwd: Path) -> None:
    (cwd / "f.txt").write_text("one\n")
    ctx = make_context(cwd)
    items = [
        apply(ctx, "*** Update File: f.txt", "@@", "-one", "+1.5").item,
        apply(ctx, "*** Update File: f.txt", "@@", "-1.5", "+two").item,
        apply(ctx, "*** Add File: away", "+x").item,
    ]
    (cwd / "away").unlink()
    (cwd / "away").symlink_to("/etc/passwd")

    diff = apply_patch.turn_diff([item["changes"] for item in items if item], ctx)

    assert diff == (
        "diff --git a/f.txt b/f.txt\n"
        "index 5626abf0f72e58d7a153368ba57db4c673c0e171..f719efd430d52bcfc8566a43b2eb655688d38871\n"
        "--- a/f.txt\n+++ b/f.txt\n@@ -1 +1 @@\n-one\n+two\n"
    )
