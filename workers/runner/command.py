"""One command as the tool runner sees it: started in its sandbox, asked to stop, seen to end.

One thread starts all commands, because the kernel ends a sandbox together with the *thread* that started it
(`--die-with-parent`). A sandbox has its own process namespace, so ending it ends every process in it, whatever session
or parent that process gave itself.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from shared.errors import ToolError
from workers.runner import cgroups, repositories
from workers.runner.cgroups import Cgroups
from workers.runner.launch import launch
from workers.runner.processes import InnerProcess, descendants
from workers.runner.repositories import Found
from workers.sandbox.channel import Channel
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.event_thread import EventThread, Timer
from workers.sandbox.messages import Ended, MayRun, Started, StopRequest
from workers.sandbox.runner import BY_WORKER, SILENCE, encode_error

DEATH_SECONDS = 5.0  # after KILL; only a process stuck in the kernel takes longer, and it is given up
SETUP_GRACE_SECONDS = 2.0  # for a sandbox that is still being set up when its worker is lost
INFO_BYTES = 1 << 12
GIT_BYTES = 1 << 14  # of a command line in which it is looked for
GIT = re.compile(r"\bgit\b")
MAKES = re.compile(r"\b(init|clone)\b")
NAMES_GIT = re.compile(r"\.git\b")
NO_GIT = (
    "no command can make `.git` in this folder, because git outside of the sandbox would run what it names: make the "
    "repository yourself with `git init` or `git clone`, or let the command use a folder below"
)

logger = logging.getLogger(__name__)


class Command:
    """One command, on behalf of the worker at the other end of a channel. All of it runs in the commands' thread.

    Receives: StopRequest: end the command early. The end of the connection: kill the command.
              MayRun: end it, too, when the worker sends no other one in time: it stands still, or has lost its lease
    Sends:    Started with descriptors, or Failure; Ended at the end
    group:    the command's control group, if the runner can make one
    """

    def __init__(
        self,
        thread: EventThread,
        channel: Channel,
        spec: CommandSpec,
        found: Found | None,
        on_end: Callable[[], None],
        groups: Cgroups | None,
    ) -> None:
        """found: the repositories that are there now; None: they are not watched."""
        self.spec = spec
        self.group: Path | None = None
        self._groups = groups
        self._thread = thread
        self._channel = channel
        self._found = found
        self._on_end = on_end
        self._inner: InnerProcess | None = None
        self._timers: list[Timer] = []
        self._time_limit: Timer | None = None
        self._stopped: str | None = None
        try:
            if groups is not None:
                self.group = groups.make(self.spec.limits)
            launched = launch(self.spec, self.group)
        except Exception as error:  # noqa: BLE001 - sent to the worker
            failed = isinstance(error, (OSError, ValueError))
            self._send(encode_error(ToolError(f"cannot start the command: {error}") if failed else error))
            self._remove_group()
            channel.close()
            on_end()
            return
        self._popen = launched.popen
        self._placeholders = launched.placeholders
        self._outer_fd = launched.pidfd
        self._info_fd: int | None = launched.info_fd
        self._thread.watch(self._outer_fd, self._on_outer_ended)
        self._thread.watch(channel.fileno(), self._on_worker_message)
        self._send(Started(started=True, limits_time=True), launched.worker_fds)
        for fd in launched.worker_fds:
            os.close(fd)

    def stop(self, reason: str, grace_s: float) -> None:
        """Send TERM to every process of the command, and KILL after grace_s to those that are left."""
        if self._stopped is None and self._popen.returncode is None:
            self._stopped = reason
            self._later(grace_s, self._kill)
            self._find_inner()
            if self._inner is not None and self._inner.is_running():
                for pid in descendants(self._inner.pid):
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGTERM)

    def kill_soon(self, reason: str) -> None:
        """Stop the command without grace; from any thread."""
        self._thread.call(lambda: self.stop(reason, 0))

    @property
    def pid(self) -> int:
        """The pid of bwrap, from which all processes of the command descend."""
        return self._popen.pid

    def _send(self, message: Mapping[str, object], fds: Sequence[int] = ()) -> None:
        with suppress(OSError):  # the worker is gone: the connection becomes readable, too
            self._channel.send(message, fds)

    def _on_worker_message(self) -> None:
        try:
            received = self._channel.receive()
        except (OSError, ValueError):
            received = None
        if received is not None:
            message = received[0]
            if "may_run" in message:
                self._limit_time(cast(MayRun, message)["may_run"])
            else:
                self.stop(BY_WORKER, cast(StopRequest, message)["stop"])
            return
        self._thread.unwatch(self._channel.fileno())
        self._find_inner()
        if self._inner is not None:
            self._kill()
        else:
            # The sandbox is still being set up. Killing bwrap now would leave behind what it has made so far, and the
            # guard runs nothing without the worker's answer.
            self._later(SETUP_GRACE_SECONDS, self._kill)

    def _limit_time(self, seconds: float) -> None:
        """End the command after so many seconds, without grace: another worker may go on with its turn soon."""
        if self._time_limit is not None:
            self._time_limit.cancel()
        self._time_limit = self._thread.later(seconds, lambda: self.stop(SILENCE, 0))

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._timers.append(self._thread.later(seconds, action))

    def _find_inner(self) -> None:
        if self._info_fd is not None:
            self._inner = InnerProcess.find(os.pread(self._info_fd, INFO_BYTES, 0))
            if self._inner is not None:
                os.close(self._info_fd)
                self._info_fd = None

    def _kill(self) -> None:
        self._find_inner()
        if self._inner is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._inner.fd, signal.SIGKILL)
        self._popen.kill()

    def _on_outer_ended(self) -> None:
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
        logger.error("processes of a command survived KILL, giving up: pid %d", self._popen.pid)
        self._finish()

    def _finish(self) -> None:
        for timer in (*self._timers, self._time_limit):
            if timer is not None:
                timer.cancel()
        if self._inner is not None:
            self._thread.unwatch(self._inner.fd)
            with suppress(ChildProcessError):  # it is our child only where we are the container's first process
                os.waitid(os.P_PIDFD, self._inner.fd, os.WEXITED | os.WNOHANG)
            os.close(self._inner.fd)
            self._inner = None
        if self._info_fd is not None:
            os.close(self._info_fd)
            self._info_fd = None
        if self._stopped is None and self.group is not None and cgroups.ran_out_of_memory(self.group):
            self._stopped = f"its memory limit of {self.spec.limits.total_memory_bytes >> 20} MiB"
        self._remove_group()
        for placeholder in self._placeholders:
            placeholder.release()
        if self._found is None:
            self._report([])
        else:
            threading.Thread(target=self._clean, args=[self._found], daemon=True).start()

    def _clean(self, found: Found) -> None:
        """Clean the repositories that the command made, in a thread of its own."""
        notes: list[str] = []
        try:
            notes = repositories.clean(self.spec.policy, found)
        except Exception:
            logger.exception("repositories not cleaned after a command")
        self._thread.call(lambda: self._report(notes))

    def _report(self, notes: list[str]) -> None:
        """Send the worker how the command has ended."""
        if self._placeholders and self._popen.returncode != 0 and _makes_git(" ".join(self.spec.argv)[:GIT_BYTES]):
            notes = [*notes, NO_GIT]
        self._send(Ended(status=self._popen.returncode, stopped=self._stopped, notes=notes))
        self._thread.unwatch(self._channel.fileno())
        self._channel.close()
        self._on_end()

    def _remove_group(self) -> None:
        if self._groups is not None and self.group is not None:
            self._groups.remove(self.group)


def _makes_git(line: str) -> bool:
    """Return whether a command line looks as if it makes a repository."""
    git = GIT.search(line)
    return bool(git and MAKES.search(line, git.end())) or NAMES_GIT.search(line) is not None
