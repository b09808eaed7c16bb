"""A command as the tool runner sees it: started in its sandbox, told to end, seen to end.

One thread starts all of them, because the kernel ends a sandbox together with the *thread* that started it
(`--die-with-parent`). A sandbox has its own process namespace, so ending it ends every process in it, whatever session
or parent that one gave itself. What a command reads and says goes between it and its worker, and not through here.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import ToolError
from workers.runner import cgroups
from workers.runner.cgroups import Cgroups
from workers.sandbox import bubblewrap, files
from workers.sandbox.channel import Channel
from workers.sandbox.event_thread import EventThread, Timer
from workers.sandbox.limits import CommandLimits, system_program
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.runner import BY_WORKER, failure

DEATH_SECONDS = 5.0  # after KILL; only a process stuck in the kernel takes longer, and it is given up
GRACE_SECONDS = 2.0  # for what is still being set up when its worker is lost
INFO_BYTES = 1 << 12

# A sandbox is tied to us only when bwrap is done with it. So its first program says that it is there, on a socket in
# the place of its input, and goes on to the command when the worker answers: without us nothing runs.
GUARD = 'echo >&0 && read -r go && exec "$@"'

logger = logging.getLogger(__name__)


def bury_leftovers() -> None:
    """End what a runner left behind that was killed while bwrap was half-way: it waits for ever and runs nothing."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            program, *options = (folder / "cmdline").read_bytes().split(b"\0")
            if Path(os.fsdecode(program)).name == "bwrap" and options[:1] == [b"--info-fd"]:
                outer = os.getsid(int(folder.name))  # each is the leader of its session
                if not Path(f"/proc/{outer}").exists():
                    os.kill(int(folder.name), signal.SIGKILL)


@dataclass
class _Inner:
    """The first process of a sandbox; all others end with it."""

    pid: int
    namespace: int
    fd: int

    @classmethod
    def find(cls, info: bytes) -> _Inner | None:
        """From what bwrap says of it; None when it is gone already."""
        try:
            said = json.loads(info)
            pid, namespace = said["child-pid"], said["pid-namespace"]
            found = cls(pid, namespace, os.pidfd_open(pid))
        except (ValueError, KeyError, OSError):
            return None
        if found.is_there():
            return found
        os.close(found.fd)
        return None

    def is_there(self) -> bool:
        """Whether the number is still that of this process and not of a later one."""
        try:
            return os.stat(f"/proc/{self.pid}/ns/pid").st_ino == self.namespace
        except OSError:
            return False


def descendants(pid: int) -> list[int]:
    pids = [pid]
    for one in pids:  # grows as it goes
        for file in Path(f"/proc/{one}/task").glob("*/children"):
            with suppress(OSError):
                pids += map(int, file.read_text().split())
    return pids[1:]


class Command:
    """One command, for the worker at the other end of a channel. All of it runs in the commands' thread.

    Hears:  {"stop": seconds}: TERM to every process of the tree, KILL to those left after so long; the end of the
            connection: KILL to all
    Says:   {"started"} with its descriptors (guard, then the terminal, or output, and errors if those are apart), or
            {"error"}; at the end {"status": as Popen has it, "stopped": the reason why we ended it early, or None}
    """

    def __init__(
        self,
        thread: EventThread,
        channel: Channel,
        request: dict[str, Any],
        on_end: Callable[[], None],
        groups: Cgroups | None,
    ) -> None:
        self._thread = thread
        self._groups = groups
        self.group: Path | None = None
        self.policy = SandboxPolicy(**request.pop("policy"))
        self.limits = CommandLimits(**request.pop("limits"))
        self._channel = channel
        self._on_end = on_end
        self._inner: _Inner | None = None
        self._timers: list[Timer] = []
        self._stopped: str | None = None
        try:
            fds = self._start(**request)
        except Exception as error:  # noqa: BLE001 - the worker is told
            failed = isinstance(error, (OSError, ValueError))
            self._say(failure(ToolError(f"cannot start the command: {error}") if failed else error))
            self._leave_group()
            channel.close()
            on_end()
            return
        self._thread.watch(self._outer_fd, self._outer_ended)
        self._thread.watch(channel.fileno(), self._hear)
        self._say({"started": True}, fds)
        for fd in set(fds):
            os.close(fd)

    def stop(self, reason: str, grace_s: float) -> None:
        """TERM to every process of the tree, KILL to those left after so long."""
        if self._stopped is None and self._popen.returncode is None:
            self._stopped = reason
            self._later(grace_s, self._kill)
            self._find_inner()
            if self._inner is not None and self._inner.is_there():
                for pid in descendants(self._inner.pid):
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGTERM)

    def stop_soon(self, reason: str) -> None:
        """The same at once, from any thread."""
        self._thread.call(lambda: self.stop(reason, 0))

    @property
    def pid(self) -> int:
        """Of bwrap; all processes of the command descend from it."""
        return self._popen.pid

    def _start(
        self,
        argv: Sequence[str],
        cwd: Path,
        tty: bool,
        rows_columns: tuple[int, int],
        has_input: bool,
        stderr_apart: bool,
        env: Mapping[str, str | None],
        bwrap: str | None,
    ) -> list[int]:
        """Returns the worker's descriptors."""
        may = self.policy
        source = " <&1" if tty else "" if has_input else " </dev/null"
        guarded = ["/bin/sh", "-c", GUARD + source, "sh", *self.limits.prlimit()]
        terminal = [system_program("setsid"), "--ctty", "--"] if tty else []  # Ctrl-C must not reach bwrap itself
        ours: list[int] = []
        theirs: list[int] = []
        popen: subprocess.Popen[bytes] | None = None
        try:
            info_fd = os.memfd_create("info")  # no pipe: bwrap must not fail half-way when nobody reads it any more
            ours.append(info_fd)
            guard, guard_end = socket.socketpair()
            ours.append(guard.detach())
            theirs.append(guard_end.detach())
            if tty:
                master, slave = os.openpty()
                ours.append(master)
                theirs += [slave] * 2
                fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *rows_columns, 0, 0))
            else:
                for _ in range(2 if stderr_apart else 1):
                    end, their_end = os.pipe()
                    ours.append(end)
                    theirs.append(their_end)
                theirs.append(theirs[-1])
            words = ["--info-fd", str(info_fd)]
            if env:  # not in the command line, where everybody on the host may read it
                env_fd = os.memfd_create("env")
                theirs.append(env_fd)
                os.write(env_fd, _env_words(env))
                os.lseek(env_fd, 0, os.SEEK_SET)
                words += ["--args", str(env_fd)]
            bwrap = bwrap or bubblewrap.find_bwrap()
            protected = _opened(may.protected) if may.writable_roots and bubblewrap.protects(bwrap) else {}
            theirs += protected.values()
            contained = bubblewrap.containment(may, cwd, tty=tty, protected=protected)
            if self._groups is not None:
                self.group = self._groups.make(self.limits)
            enter = [*cgroups.ENTER, str(self.group)] if self.group else []
            popen = self._popen = subprocess.Popen(
                [*enter, bwrap, *words, *contained, *guarded, *terminal, *argv],
                stdin=theirs[0],
                stdout=theirs[1],
                stderr=theirs[2],
                env=bubblewrap.environment(may, tty=tty),
                cwd="/",
                pass_fds=[*(int(fd) for fd in words[1::2]), *protected.values()],
                start_new_session=True,
            )
            self._outer_fd = os.pidfd_open(popen.pid)
        except BaseException:
            if popen is not None:
                popen.kill()
                popen.wait()
            for fd in ours:
                os.close(fd)
            raise
        finally:
            for fd in set(theirs):
                os.close(fd)
        self._info_fd: int | None = ours[0]
        return ours[1:]

    def _say(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        with suppress(OSError):  # the worker is gone: that is heard, too
            self._channel.send(message, fds)

    def _hear(self) -> None:
        try:
            received = self._channel.receive()
        except (OSError, ValueError):
            received = None
        if received is not None:
            self.stop(BY_WORKER, received[0]["stop"])
            return
        self._thread.unwatch(self._channel.fileno())
        self._find_inner()
        if self._inner is not None:
            self._kill()
        else:  # still being set up; to kill bwrap now would leave what it made behind, and without us nothing runs
            self._later(GRACE_SECONDS, self._kill)

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self._timers.append(self._thread.later(seconds, act))

    def _leave_group(self) -> None:
        if self.group is not None:
            cgroups.remove(self.group)

    def _find_inner(self) -> None:
        if self._info_fd is not None:
            self._inner = _Inner.find(os.pread(self._info_fd, INFO_BYTES, 0))
            if self._inner is not None:
                os.close(self._info_fd)
                self._info_fd = None

    def _kill(self) -> None:
        self._find_inner()
        if self._inner is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._inner.fd, signal.SIGKILL)
        self._popen.kill()

    def _outer_ended(self) -> None:
        self._thread.unwatch(self._outer_fd)
        os.close(self._outer_fd)
        self._popen.wait()
        self._find_inner()
        if self._inner is None:
            self._finish()
        else:
            self._thread.watch(self._inner.fd, self._finish)
            self._later(DEATH_SECONDS, self._give_up)

    def _give_up(self) -> None:
        logger.error("a command's processes do not die: pid %d", self._popen.pid)
        self._finish()

    def _finish(self) -> None:
        for timer in self._timers:
            timer.cancel()
        if self._inner is not None:
            self._thread.unwatch(self._inner.fd)
            with suppress(ChildProcessError):  # it is ours to bury only where we are the container's first process
                os.waitid(os.P_PIDFD, self._inner.fd, os.WEXITED | os.WNOHANG)
            os.close(self._inner.fd)
        if self._info_fd is not None:
            os.close(self._info_fd)
        if self._stopped is None and self.group is not None and cgroups.ran_out_of_memory(self.group):
            self._stopped = f"its memory limit of {self.limits.total_memory_bytes >> 20} MiB"
        self._leave_group()
        self._say({"status": self._popen.returncode, "stopped": self._stopped})
        self._thread.unwatch(self._channel.fileno())
        self._channel.close()
        self._on_end()


def _opened(paths: Sequence[Path]) -> dict[Path, int]:
    """Descriptors of those that are there, by paths without links."""
    opened = {}
    for path in paths:
        with suppress(OSError):
            opened[path] = files.open_path(path)
    return opened


def _env_words(env: Mapping[str, str | None]) -> bytes:
    """Options of bwrap as its --args reads them. Errors: ValueError, for what cannot be a variable."""
    words = []
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + (value or ""):
            raise ValueError(f"not a variable: {name!r}")
        words += ["--unsetenv", name] if value is None else ["--setenv", name, value]
    return b"".join(os.fsencode(word) + b"\0" for word in words)
