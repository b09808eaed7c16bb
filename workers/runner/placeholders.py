"""Keeps commands from making a protected path, such as `.git`, where there is none.

bubblewrap mounts only over what exists, so an empty folder takes that place while commands run, and is mounted
read-only. Each command holds a shared lock on it, also those of other runners, because removing a folder would remove
its mounts in every sandbox. The last command removes it, if it is still empty: the user may have filled it meanwhile.
An empty folder that a lost runner left behind is used and removed alike.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from dataclasses import dataclass

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
RETRY_SECONDS = 0.001
MAX_RACES = 1000  # with runners that remove their placeholder at the same moment


@dataclass(frozen=True, slots=True)
class Placeholder:
    """An empty folder in the place of a protected path. parent_fd, fd: open and owned; fd is locked."""

    parent_fd: int
    fd: int
    name: str

    def open(self) -> int:
        """Return a descriptor that can be mounted, and carries no lock. Errors: OSError."""
        return os.open(f"/proc/self/fd/{self.fd}", os.O_PATH | os.O_CLOEXEC)

    def release(self) -> None:
        """Remove the folder unless another command uses it or something is in it. The command must have ended."""
        with suppress(OSError):
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(self.fd, self.parent_fd, self.name):
                os.rmdir(self.name, dir_fd=self.parent_fd)
        os.close(self.fd)
        os.close(self.parent_fd)


def hold(parent_fd: int, name: str) -> Placeholder | None:
    """Make and lock a placeholder. None: something is there, or nobody but the owner of the folder can make it.

    parent_fd: of the folder it is made in; stays the caller's
    Errors:    OSError
    """
    for _ in range(MAX_RACES):
        try:
            os.mkdir(name, 0o755, dir_fd=parent_fd)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno in NOT_WRITABLE and os.fstat(parent_fd).st_uid != os.geteuid():
                return None
            raise
        try:
            fd = os.open(name, FOLDER, dir_fd=parent_fd)
        except FileNotFoundError:
            continue
        except OSError:  # a file, a link, or a folder that is not ours
            return None
        try:
            if os.listdir(fd):
                os.close(fd)
                return None
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if _is_at(fd, parent_fd, name):
                return Placeholder(os.dup(parent_fd), fd, name)
        except FileNotFoundError:
            pass
        except BlockingIOError:  # it is being removed
            time.sleep(RETRY_SECONDS)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise OSError(errno.EBUSY, "in use by another program", name)


def _is_at(fd: int, parent_fd: int, name: str) -> bool:
    """Return whether the open folder still has its name. Errors: OSError."""
    return os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=parent_fd, follow_symlinks=False))
