"""Removes and counts folders of users, whatever their commands made of them.

Folders can be closed to their owner (a cache of Go modules is read-only), and nested so deeply that no path leads to
the innermost one. Everything is done beneath open descriptors, and no link is followed. Only in the tool runner itself.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator
from contextlib import contextmanager, suppress

FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(parent_fd: int, name: str) -> None:
    """Delete a folder and all that is in it. Errors: OSError, FileNotFoundError when it is not there.

    What is in a folder of the folder moves up, so that all of it is deleted from two levels, however deep it was.
    """
    with _opened(parent_fd, name) as top:
        moved = 0
        while names := os.listdir(top):
            for inner in names:
                if not _is_folder(top, inner):
                    os.unlink(inner, dir_fd=top)
                    continue
                with _opened(top, inner) as folder:
                    for each in os.listdir(folder):
                        if _is_folder(folder, each):
                            with _opened(folder, each):  # a folder that is closed to its owner cannot be moved
                                moved = _move_up(folder, each, top, moved)
                        else:
                            os.unlink(each, dir_fd=folder)
                os.rmdir(inner, dir_fd=top)
    os.rmdir(name, dir_fd=parent_fd)


def count_files(parent_fd: int, name: str) -> int:
    """Return the number of files and links in a folder and those below. Errors: OSError."""
    count = 0
    open_fds: list[tuple[int, list[str]]] = []
    try:
        with _opened(parent_fd, name) as fd:
            open_fds.append((os.dup(fd), os.listdir(fd)))
        while open_fds:
            fd, names = open_fds[-1]
            if not names:
                os.close(fd)
                open_fds.pop()
            elif _is_folder(fd, inner := names.pop()):
                with _opened(fd, inner) as below:
                    open_fds.append((os.dup(below), os.listdir(below)))
            else:
                count += 1
    finally:
        for fd, _ in open_fds:
            os.close(fd)
    return count


@contextmanager
def _opened(parent_fd: int, name: str) -> Iterator[int]:
    """Open a folder to list and change it; its owner may do so from now on. Errors: OSError (a link)."""
    found = os.open(name, FOLDER, dir_fd=parent_fd)
    try:
        mode = modes.S_IMODE(os.fstat(found).st_mode)
        if mode & modes.S_IRWXU != modes.S_IRWXU:
            with suppress(PermissionError):  # of another owner: opening it fails, if it has to
                os.chmod(f"/proc/self/fd/{found}", mode | modes.S_IRWXU)
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=found)
    finally:
        os.close(found)
    try:
        yield fd
    finally:
        os.close(fd)


def _is_folder(fd: int, name: str) -> bool:
    return modes.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)


def _move_up(folder: int, name: str, top: int, number: int) -> int:
    """Move a folder to an unused name in `top`. number: to begin with. Return the number behind the one used."""
    while _exists(top, f".removed-{number}"):
        number += 1
    os.rename(name, f".removed-{number}", src_dir_fd=folder, dst_dir_fd=top)
    return number + 1


def _exists(fd: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
