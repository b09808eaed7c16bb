"""apply_patch beside the original's: the same patch on the same files leaves the same files, or better ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.original_server import run_turn
from tests.support.protocol_client import ProtocolClient

Files = dict[str, bytes | str]  # a text is what a link leads to

BOM = b"\xef\xbb\xbf"
A_TO_B = "@@\n-a\n+b"
UPDATE_F = f"*** Update File: f\n{A_TO_B}"
MOVE_F = f"*** Update File: f\n*** Move to: g\n{A_TO_B}"
TWO_MB = b"line\n" * 400_000
# name: (files before, patch, files afterwards, whether the original leaves the same)
CASES: dict[str, tuple[Files, str, Files, bool]] = {
    "byte order mark": ({"f": BOM + b"a\nx\n"}, UPDATE_F, {"f": BOM + b"b\nx\n"}, False),
    "byte order mark, kept line": (
        {"f": BOM + b"x\na\n"},
        "*** Update File: f\n@@\n x\n-a\n+b",
        {"f": BOM + b"x\nb\n"},
        False,
    ),
    "byte order mark, anchor": (
        {"f": BOM + b"x\na\n"},
        "*** Update File: f\n@@ x\n-a\n+b",
        {"f": BOM + b"x\nb\n"},
        False,
    ),
    "line ends": ({"f": b"x\r\na\r\n"}, UPDATE_F, {"f": b"x\r\nb\r\n"}, True),
    "mixed line ends": ({"f": b"x\ny\r\na\r\n"}, UPDATE_F, {"f": b"x\ny\r\nb\r\n"}, False),
    "CR alone": ({"f": b"x\ra\r"}, UPDATE_F, {"f": b"x\rb\r"}, True),
    "no end of the last line": ({"f": b"x\na"}, UPDATE_F, {"f": b"x\nb"}, False),
    "Latin-1": ({"f": b"caf\xe9\na\n"}, UPDATE_F, {"f": b"caf\xe9\nb\n"}, False),
    "Latin-1, deleted": ({"f": b"caf\xe9\n"}, "*** Delete File: f", {}, False),
    "back by ..": ({"d/x": b"", "f": b"a\n"}, f"*** Update File: d/../f\n{A_TO_B}", {"d/x": b"", "f": b"b\n"}, True),
    "linked file": ({"f": b"a\n", "l": "f"}, f"*** Update File: l\n{A_TO_B}", {"f": b"b\n", "l": "f"}, True),
    "linked folder": ({"d/f": b"a\n", "l": "d"}, f"*** Update File: l/f\n{A_TO_B}", {"d/f": b"b\n", "l": "d"}, True),
    "deleted link": ({"f": b"a\n", "l": "f"}, "*** Delete File: l", {"f": b"a\n"}, True),
    "added through a link": ({"l": "f"}, "*** Add File: l\n+x", {"f": b"x\n", "l": "f"}, True),
    "2 MB": ({"f": TWO_MB + b"a\n"}, UPDATE_F, {"f": TWO_MB + b"b\n"}, True),
    "added onto a file": ({"f": b"old\n"}, "*** Add File: f\n+x", {"f": b"x\n"}, True),
    "moved onto a file": ({"f": b"a\n", "g": b"old\n"}, MOVE_F, {"g": b"b\n"}, True),
    "moved onto itself": ({"f": b"a\n"}, f"*** Update File: f\n*** Move to: f\n{A_TO_B}", {"f": b"b\n"}, False),
    "named twice": ({"f": b"a\n"}, f"{UPDATE_F}\n*** Update File: f\n@@\n-b\n+c", {"f": b"c\n"}, False),
    "deleted, then added": ({"f": b"a\n"}, "*** Delete File: f\n*** Add File: f\n+x", {"f": b"x\n"}, False),
}


def patched(client: ProtocolClient, folder: Path, files: Files, command: str) -> tuple[Files, list[str]]:
    """Make the files, and run a turn with this command there. Return the files and the kinds of the turn's items."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            (folder / name).symlink_to(content)
        else:
            (folder / name).write_bytes(content)
    thread = client.request(
        "thread/start", {"cwd": str(folder), "sandbox": "danger-full-access", "approvalPolicy": "never"}
    )
    events = run_turn(client, thread["thread"]["id"], f"[[tool exec_command {json.dumps({'cmd': command})}]]")
    items = [event["params"]["item"] for event in events if event["method"] == "item/completed"]
    found: Files = {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }
    return found, [item["type"] for item in items if item["type"] not in ("userMessage", "agentMessage")]


@pytest.mark.parametrize(("files", "patch", "after", "is_same"), CASES.values(), ids=CASES)
def test_files_are_those_of_the_original_or_better(
    original: ProtocolClient,
    ours: ProtocolClient,
    tmp_path: Path,
    files: Files,
    patch: str,
    after: Files,
    is_same: bool,
) -> None:
    command = f"apply_patch <<'EOF'\n*** Begin Patch\n{patch}\n*** End Patch\nEOF"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    assert patched(ours, tmp_path / "a", files, command) == (after, ["fileChange"])
    assert (patched(original, tmp_path / "b", files, command) == (after, ["fileChange"])) is is_same


PATCH = f"*** Begin Patch\n{UPDATE_F}\n*** End Patch"
COMMANDS: dict[str, tuple[str, list[str]]] = {
    "in a folder": (f"cd . && apply_patch <<'EOF'\n{PATCH}\nEOF\n", ["fileChange"]),
    "other name": (f"applypatch <<EOF\n{PATCH}\nEOF", ["fileChange"]),
    "with a command behind it": (f"apply_patch <<'EOF'\n{PATCH}\nEOF\necho done", ["commandExecution"]),
    "as an argument": (f"apply_patch '{PATCH}'", ["commandExecution"]),
    "that does not fit": (f"apply_patch <<'EOF'\n{PATCH.replace('-a', '-z')}\nEOF", []),
}


@pytest.mark.parametrize(("command", "kinds"), COMMANDS.values(), ids=COMMANDS)
def test_the_same_commands_are_patches(
    original: ProtocolClient, ours: ProtocolClient, tmp_path: Path, command: str, kinds: list[str]
) -> None:
    found: list[Any] = []
    for client, name in ((ours, "a"), (original, "b")):
        (tmp_path / name).mkdir()
        found.append(patched(client, tmp_path / name, {"f": b"a\n"}, command))

    assert found[0] == found[1]
    assert found[0][1] == kinds
