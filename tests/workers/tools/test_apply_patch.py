"""apply_patch: all of a patch or nothing, and never outside of what the thread may touch."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from shared.errors import ToolError
from tests.workers.tools.context import make_call, make_context
from workers.tools import apply_patch
from workers.tools.apply_patch import MAX_FILE_BYTES
from workers.tools.base import Outcome, Plan, ToolContext


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "project"
    folder.mkdir()
    return folder


def patch(*lines: str) -> str:
    return "\n".join(["*** Begin Patch", *lines, "*** End Patch", ""])


def plan(ctx: ToolContext, *lines: str) -> Plan:
    return apply_patch.plan(make_call("apply_patch", patch(*lines)), ctx)


def apply(ctx: ToolContext, *lines: str) -> Outcome:
    return apply_patch.run(plan(ctx, *lines), ctx)


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_bytes().decode() for p in folder.rglob("*") if p.is_file()}


def test_a_patch_adds_updates_moves_and_deletes(cwd: Path) -> None:
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


def test_planning_changes_nothing_and_shows_what_would_change(cwd: Path) -> None:
    made = plan(make_context(cwd), "*** Add File: a.txt", "+hello", "+world")

    assert tree(cwd) == {}
    assert made.item == {
        "type": "fileChange",
        "changes": [{"path": str(cwd / "a.txt"), "kind": {"type": "add"}, "diff": "hello\nworld\n"}],
        "status": "inProgress",
    }
    assert made.question is not None
    assert (made.question.escalates, made.question.why) == (False, None)
    assert made.question.keys == (f"apply_patch:{cwd / 'a.txt'}",)


def test_a_function_call_carries_the_patch_as_input(cwd: Path) -> None:
    ctx = make_context(cwd)
    call = make_call("apply_patch", json.dumps({"input": patch("*** Add File: a", "+x")}))

    apply_patch.run(apply_patch.plan(call, ctx), ctx)

    assert tree(cwd) == {"a": "x\n"}


@pytest.mark.parametrize("arguments", ["{", "{}", '{"input": 1}', '{"input": ""}'])
def test_a_function_call_without_a_patch_is_refused(cwd: Path, arguments: str) -> None:
    with pytest.raises(ToolError):
        apply_patch.plan(make_call("apply_patch", arguments), make_context(cwd))


def test_a_files_mode_and_line_ends_stay(cwd: Path) -> None:
    script = cwd / "run.sh"
    script.write_bytes(b"#!/bin/sh\r\necho one")
    script.chmod(0o755)

    apply(make_context(cwd), "*** Update File: run.sh", "@@", "-echo one", "+echo two")

    assert script.read_bytes() == b"#!/bin/sh\r\necho two"
    assert script.stat().st_mode & 0o777 == 0o755


def test_an_absolute_path_below_a_writable_root_is_allowed(cwd: Path, tmp_path: Path) -> None:
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
    "file to add is there": ["*** Add File: kept", "+x"],
    "target of a move is there": ["*** Update File: kept", "*** Move to: last"],
    "named twice": ["*** Delete File: ./u"],
    "moved onto itself": ["*** Update File: kept", "*** Move to: kept"],
    "nothing changes": ["*** Update File: kept", "@@", " k"],
    "a folder": ["*** Delete File: folder"],
    "not UTF-8": ["*** Update File: binary", "@@", "-x", "+y"],
    "not UTF-8, deleted": ["*** Delete File: binary"],
    "too big": ["*** Delete File: big"],
    "a FIFO": ["*** Delete File: pipe"],
}


@pytest.mark.parametrize("lines", THIRD_FAILS.values(), ids=THIRD_FAILS)
def test_a_third_file_that_cannot_be_planned_leaves_the_first_two_untouched(cwd: Path, lines: list[str]) -> None:
    (cwd / "u").write_text("one\n")
    (cwd / "kept").write_text("k\n")
    (cwd / "last").write_text("l\n")
    (cwd / "folder").mkdir()
    (cwd / "binary").write_bytes(b"\xff\xfe\n")
    (cwd / "big").write_text("x" * (MAX_FILE_BYTES + 1))
    os.mkfifo(cwd / "pipe")
    before = {p: p.stat().st_mtime_ns for p in cwd.rglob("*")}

    with pytest.raises(ToolError):
        apply(make_context(cwd), "*** Add File: a", "+x", "*** Update File: u", "@@", "-one", "+two", *lines)

    assert {p: p.stat().st_mtime_ns for p in cwd.rglob("*")} == before


def test_a_third_file_that_cannot_be_written_puts_the_first_three_back(cwd: Path) -> None:
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


def test_a_file_that_changed_after_the_plan_is_not_overwritten(cwd: Path) -> None:
    (cwd / "u").write_text("one\n")
    ctx = make_context(cwd)
    made = plan(ctx, "*** Add File: a", "+x", "*** Update File: u", "@@", "-one", "+two")
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
def test_a_path_that_makes_no_sense_is_refused(cwd: Path, path: str) -> None:
    for sandbox in ("workspaceWrite", "dangerFullAccess"):
        with pytest.raises(ToolError):
            plan(make_context(cwd, sandbox), f"*** Add File: {path}", "+x")


ESCAPES = {
    "through a linked folder": ["*** Add File: link/a", "+x"],
    "update through a linked folder": ["*** Update File: link/secret", "@@", "-secret", "+x"],
    "move into a linked folder": ["*** Update File: f", "*** Move to: link/a"],
    "update a linked file": ["*** Update File: linked", "@@", "-secret", "+x"],
    "delete a linked file": ["*** Delete File: linked"],
    "add where a dangling link is": ["*** Add File: dangling", "+x"],
    "a link inside the project": ["*** Add File: inner/a", "+x"],
}


@pytest.mark.parametrize("lines", ESCAPES.values(), ids=ESCAPES)
def test_links_lead_nowhere(cwd: Path, tmp_path: Path, lines: list[str]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret\n")
    (cwd / "f").write_text("f\n")
    (cwd / "folder").mkdir()
    (cwd / "link").symlink_to(outside)
    (cwd / "linked").symlink_to(outside / "secret")
    (cwd / "dangling").symlink_to(outside / "new")
    (cwd / "inner").symlink_to("folder")

    for sandbox in ("workspaceWrite", "dangerFullAccess"):
        with pytest.raises(ToolError) as error:
            plan(make_context(cwd, sandbox), *lines)
        assert "secret\n" not in str(error.value)

    assert tree(outside) == {"secret": "secret\n"}


def test_a_folder_swapped_for_a_link_after_the_plan_leads_nowhere(cwd: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (cwd / "sub").mkdir()
    ctx = make_context(cwd)
    made = plan(ctx, "*** Add File: sub/a", "+x")
    (cwd / "sub").rmdir()
    (cwd / "sub").symlink_to(outside)

    with pytest.raises(ToolError):
        apply_patch.run(made, ctx)

    assert tree(outside) == {}


def test_a_patch_that_the_sandbox_forbids_asks_to_escalate_and_runs_once_it_is_allowed(cwd: Path) -> None:
    ctx = make_context(cwd, "readOnly")
    made = plan(ctx, "*** Add File: a", "+x")

    assert made.question is not None
    assert made.question.escalates
    assert made.question.why == f"writes outside of the sandbox: {cwd}/a"
    with pytest.raises(ToolError, match="does not let this thread write"):
        apply_patch.run(made, ctx)
    assert tree(cwd) == {}

    apply_patch.run(made, make_context(cwd, "dangerFullAccess"))

    assert tree(cwd) == {"a": "x\n"}


def test_a_readable_path_outside_of_the_writable_roots_is_asked_for_by_its_true_name(cwd: Path) -> None:
    link = Path("/bin") if Path("/bin").is_symlink() else Path("/usr/bin")

    made = plan(make_context(cwd), f"*** Add File: {link}/threadhouse-probe", "+x")

    assert made.question is not None
    assert made.question.escalates
    assert made.question.keys == (f"apply_patch:{os.path.realpath(link)}/threadhouse-probe",)


def test_what_a_thread_may_not_see_cannot_even_be_planned(cwd: Path, tmp_path: Path) -> None:
    neighbour = tmp_path.resolve() / "neighbour"
    neighbour.mkdir()
    (neighbour / "f").write_text("secret\n")

    with pytest.raises(ToolError, match="outside of what this thread may see"):
        plan(make_context(cwd, workspace=cwd), f"*** Update File: {neighbour}/f", "@@", "-guess", "+x")


def test_the_turns_diff_is_known_from_its_items_alone(cwd: Path) -> None:
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
