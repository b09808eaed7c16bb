"""Removing and counting folders, whatever a user's commands made of them; as a user who is not root."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.unprivileged import Unprivileged, unprivileged

BEGIN = """
import os
from pathlib import Path
from workers.sandbox import files
home = Path("home").absolute()
folder = home / "folder"
folder.mkdir(parents=True)
kept = home / "kept"
kept.mkdir()
(kept / "file").touch()
"""
END = """
print(files.count_files(home, "folder"))
files.remove_folder(home, "folder", recursive=True)
print(sorted(path.name for path in home.rglob("*")))
"""
CLOSED = """
for name in ("read-only", "shut/in/it"):
    (folder / name).mkdir(parents=True)
    (folder / name / "file").touch()
os.chmod(folder / "read-only", 0o500)
os.chmod(folder / "shut" / "in", 0)
os.chmod(folder / "shut", 0)
os.chmod(folder, 0)
"""
LINKS = """
(folder / "a").mkdir()
(folder / "a" / "to a folder").symlink_to(kept)
(folder / "to a file").symlink_to(kept / "file")
"""
DEEP = """
os.chdir(folder)
for number in range(3000):
    os.mkdir("a name of a folder")
    os.chdir("a name of a folder")
open("file", "w").close()
os.chdir(home)
"""
NAMES = """
for name in (".removed-0", ".removed-1/.removed-0/.removed-2", "a/.removed-1/b", "a/.removed-0"):
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "file").touch()
(folder / ".removed-3").touch()
"""


@pytest.fixture(scope="module")
def someone() -> Iterator[Unprivileged]:
    with unprivileged() as user:
        yield user


@pytest.mark.parametrize(
    ("made", "count"), [(CLOSED, 2), (LINKS, 2), (DEEP, 1), (NAMES, 5)], ids=["closed", "links", "deep", "names"]
)
def test_a_folder_is_counted_and_removed_and_nothing_else(someone: Unprivileged, made: str, count: int) -> None:
    printed = someone.run(f"{BEGIN}{made}{END}\nfiles.remove_folder(home.parent, 'home', recursive=True)")

    assert printed == f"{count}\n['file', 'kept']\n"
