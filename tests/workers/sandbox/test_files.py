"""Files of a workspace that the server opens: nothing leads it out of the workspace."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import ToolError
from workers.sandbox import files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    root = tmp_path / "root"
    root.mkdir()
    return root


LEADING_OUT = ["../outside/secret", "up/secret", "away", "/etc/passwd", "a/../../outside/secret", "nul\0.txt"]
CALLS: list[Callable[[Path, str], object]] = [
    lambda root, path: files.read_bytes(root, path, 100),
    lambda root, path: files.write_bytes(root, path, b"hacked"),
    files.stat,
    files.make_folders,
    files.list_folder,
]


@pytest.mark.parametrize("path", LEADING_OUT)
@pytest.mark.parametrize("call", CALLS)
def test_no_operation_leaves_the_root(root: Path, call: Callable[[Path, str], object], path: str) -> None:
    (root / "a").mkdir()
    (root / "up").symlink_to("../outside")
    (root / "away").symlink_to("/etc/passwd")

    with pytest.raises(ToolError):
        call(root, path)

    assert os.listdir(root.parent / "outside") == ["secret"]
    assert (root.parent / "outside" / "secret").read_text() == "secret"


def test_moving_and_deleting_does_not_leave_the_root(root: Path) -> None:
    (root / "up").symlink_to("../outside")
    (root / "mine").write_text("mine")

    with pytest.raises(ToolError, match="leads out"):
        files.unlink(root, "up/secret")
    with pytest.raises(ToolError, match="leads out"):
        files.rename(root, "mine", "up/mine")
    with pytest.raises(ToolError, match="leads out"):
        files.rename(root, "up/secret", "mine")

    assert (root / "mine").read_text() == "mine"


def test_inner_links_are_followed_for_reading_but_not_for_writing(root: Path) -> None:
    (root / "real").write_text("text")
    (root / "link").symlink_to("real")

    assert files.read_bytes(root, "link", 100) == b"text"
    with pytest.raises(ToolError, match="symbolic link"):
        files.write_bytes(root, "link", b"new")
    files.unlink(root, "link")

    assert os.listdir(root) == ["real"]


def test_reading_a_fifo_socket_or_folder_fails_without_blocking(root: Path) -> None:
    os.mkfifo(root / "fifo")
    (root / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(root)  # the path of a socket must be short
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)

        for name in ("fifo", "folder"):
            with pytest.raises(ToolError, match="not a plain file"):
                files.read_bytes(root, name, 100)
        with pytest.raises(OSError, match="No such device or address"):
            files.read_bytes(root, "socket", 100)
        for name in ("fifo", "folder", "socket"):
            with pytest.raises(ToolError, match="not a plain file"):
                files.write_bytes(root, name, b"")


def test_file_is_read_up_to_exactly_the_limit(root: Path) -> None:
    (root / "file").write_bytes(b"12345")

    assert files.read_bytes(root, "file", 5) == b"12345"
    with pytest.raises(ToolError, match="larger than 4 bytes"):
        files.read_bytes(root, "file", 4)


def test_write_is_atomic_keeps_the_mode_and_leaves_no_other_file(root: Path) -> None:
    (root / "script").write_text("old")
    (root / "script").chmod(0o750)
    with open(root / "script") as reader:
        files.write_bytes(root, "script", b"new")
        assert reader.read() == "old"

    assert (root / "script").read_bytes() == b"new"
    assert (root / "script").stat().st_mode & 0o777 == 0o750
    assert os.listdir(root) == ["script"]


def test_make_folders_returns_those_that_it_made(root: Path) -> None:
    (root / "a").mkdir()

    assert files.make_folders(root, "a/b/c") == ["a/b", "a/b/c"]
    assert files.make_folders(root, "a/b/c") == []
    assert files.make_folders(root, "") == []

    files.write_bytes(root, "a/file", b"")
    with pytest.raises(NotADirectoryError):
        files.make_folders(root, "a/file/b")


def test_files_are_moved_and_listed_by_name(root: Path) -> None:
    files.make_folders(root, "folder")
    files.write_bytes(root, "b", b"text")
    files.rename(root, "b", "folder/c")
    (root / "dangling").symlink_to("nowhere")

    assert [name for name, _ in files.list_folder(root)] == ["dangling", "folder"]
    assert files.read_bytes(root, "folder/c", 10) == b"text"
    assert files.exists(root, "dangling")
    assert not files.exists(root, "folder/c/d")
    assert not files.exists(root, "b")
    with pytest.raises(ToolError, match="more than 1 entries"):
        files.list_folder(root, "", 1)
    with pytest.raises(ToolError, match="not a file name"):
        files.write_bytes(root, "", b"")


def test_missing_file_error_names_the_requested_path(root: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        files.read_bytes(root, "no/such", 1)

    assert caught.value.filename == "no/such"
