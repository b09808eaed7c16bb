"""Starts a command in its sandbox: makes its descriptors, assembles bubblewrap's command line, and runs that.

What a command reads and writes passes directly between the command and its worker, and not through the runner.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import socket
import struct
import subprocess
import termios
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from shared.shell_environment import is_settable
from workers.runner import cgroups, placeholders
from workers.runner.placeholders import Placeholder
from workers.sandbox import bubblewrap, files
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import system_program
from workers.sandbox.policy import SandboxPolicy

# The sandbox is tied to the runner only when bwrap has finished setting it up. So the first program in it reports on a
# socket in the place of its input that it has started, and runs the command when the worker answers: without us nothing
# runs.
GUARD = 'echo >&0 && read -r go && exec "$@"'
# Linux first divides the CPU between sessions, and a command has its own: it takes less than the worker, which may have
# given way to others (workers.priority). The kernel takes ten such changes in a second from those who are not root.
GIVE_WAY = "{{ echo {niceness} > /proc/self/autogroup; }} 2> /dev/null; "
STEPS_BELOW = 3
SET_VARIABLES = '. /proc/self/fd/{fd} && exec "$@"'


@dataclass(frozen=True)
class Launched:
    """A sandbox that is being set up.

    popen:      bwrap on the host; all processes of the command descend from it
    pidfd:      of the same
    info_fd:    a file in which bwrap names the first process inside
    worker_fds: the guard, then the terminal, or the output and, if separate, the errors; to be sent to the worker
    placeholders: to be released when the command has ended
    """

    popen: subprocess.Popen[bytes]
    pidfd: int
    info_fd: int
    worker_fds: list[int]
    placeholders: list[Placeholder]


@dataclass
class _Descriptors:
    """What is opened for a command: `kept` on our side, `passed` on its side as input, output, errors, others."""

    kept: list[int] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)

    def open_guard(self) -> None:
        guard, guard_end = socket.socketpair()
        self.kept.append(guard.detach())
        self.passed.append(guard_end.detach())

    def open_terminal(self, rows_columns: tuple[int, int]) -> None:
        master, slave = os.openpty()
        self.kept.append(master)
        self.passed += [slave] * 2
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *rows_columns, 0, 0))

    def open_pipes(self, *, separate_stderr: bool) -> None:
        for _ in range(2 if separate_stderr else 1):
            read_end, write_end = os.pipe()
            self.kept.append(read_end)
            self.passed.append(write_end)
        self.passed.append(self.passed[-1])

    def open_environment(self, env: Mapping[str, str | None]) -> int:
        """Write the variables to a file in memory: on the command line everybody on the host could read them.

        Errors: ValueError for a name or value that is impossible
        """
        script = _environment_script(env)
        fd = os.memfd_create("env")
        self.passed.append(fd)
        with open(fd, "wb", closefd=False) as file:
            file.write(script)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def close_kept(self) -> None:
        for fd in self.kept:
            os.close(fd)

    def close_passed(self) -> None:
        for fd in set(self.passed):
            os.close(fd)


def launch(spec: CommandSpec, group: Path | None) -> Launched:
    """Start a command. group: the control group that it runs in. Errors: OSError, ValueError, SandboxUnavailable."""
    fds = _Descriptors()
    git_placeholders: list[Placeholder] = []
    popen: subprocess.Popen[bytes] | None = None
    try:
        info_fd = os.memfd_create("info")  # not a pipe: bwrap must not fail half-way when nobody reads it any more
        fds.kept.append(info_fd)
        fds.open_guard()
        if spec.tty:
            fds.open_terminal(spec.rows_columns)
        else:
            fds.open_pipes(separate_stderr=spec.separate_stderr)
        env_fd = fds.open_environment(spec.env) if spec.env else None
        bwrap = spec.bwrap or bubblewrap.find_bwrap()
        descriptors = _open_mounted(spec.policy, git_placeholders)
        fds.passed += descriptors.values()
        filter_fd = bubblewrap.open_filter(spec.policy)
        others = [fd for fd in (env_fd, filter_fd) if fd is not None]
        fds.passed += others
        popen = subprocess.Popen(
            [
                *([*cgroups.ENTER, str(group)] if group else []),
                *(bwrap, "--info-fd", str(info_fd)),
                *bubblewrap.containment(
                    spec.policy, spec.cwd, tty=spec.tty, descriptors=descriptors, filter_fd=filter_fd
                ),
                *_guarded(spec, env_fd),
            ],
            stdin=fds.passed[0],
            stdout=fds.passed[1],
            stderr=fds.passed[2],
            env=bubblewrap.environment(spec.policy, tty=spec.tty),
            cwd="/",
            pass_fds=[info_fd, *descriptors.values(), *others],
            start_new_session=True,
        )
        return Launched(popen, os.pidfd_open(popen.pid), info_fd, fds.kept[1:], git_placeholders)
    except BaseException:
        if popen is not None:
            popen.kill()
            popen.wait()
        fds.close_kept()
        for placeholder in git_placeholders:
            placeholder.release()
        raise
    finally:
        fds.close_passed()


def _guarded(spec: CommandSpec, env_fd: int | None) -> list[str]:
    """Return what runs inside the sandbox: the guard, then the limits, then the user's variables, then the command.

    The variables come last, because some of them (LD_PRELOAD) change every program that starts after them.
    """
    source = " <&1" if spec.tty else "" if spec.has_input else " </dev/null"
    give_way = GIVE_WAY.format(niceness=min(19, os.getpriority(os.PRIO_PROCESS, 0) + STEPS_BELOW))
    terminal = []
    if spec.tty:  # Ctrl-C must not reach bwrap itself
        terminal = [system_program("setsid"), "--ctty", "--", "/bin/sh", "-c", give_way + 'exec "$@"', "sh"]
    variables = [] if env_fd is None else ["/bin/sh", "-c", SET_VARIABLES.format(fd=env_fd), "sh"]
    return ["/bin/sh", "-c", give_way + GUARD + source, "sh", *spec.limits.prlimit(), *terminal, *variables, *spec.argv]


def _open_mounted(policy: SandboxPolicy, git_placeholders: list[Placeholder]) -> dict[Path, int]:
    """Return descriptors of what is mounted by descriptor, by paths without links. Errors: OSError.

    git_placeholders: gets the placeholders of protected paths that do not exist
    """
    opened: dict[Path, int] = {}
    if policy.private_tmp is not None:
        files.make_private_folder(policy.private_tmp.parent, policy.private_tmp.name)
    try:
        for path in bubblewrap.mounted_by_descriptor(policy):
            placeholder = _hold_place(path, opened) if path in policy.protected else None
            if placeholder is not None:
                git_placeholders.append(placeholder)
                opened[path] = placeholder.open()
                continue
            if path in policy.protected:
                _refuse_link(path)
            with suppress(OSError) if path in policy.protected or path in policy.visible else nullcontext():
                opened[path] = files.open_path(path)
    except BaseException:
        for fd in opened.values():
            os.close(fd)
        raise
    return opened


def _refuse_link(path: Path) -> None:
    """Refuse a link in a protected place: nothing can be mounted over it, so a command could exchange it.

    Errors: OSError
    """
    if path.is_symlink():
        why = "a symbolic link, which a command could exchange: replace it by a file with the line `gitdir: FOLDER`"
        raise OSError(errno.ELOOP, why, str(path))


def _hold_place(path: Path, opened: Mapping[Path, int]) -> Placeholder | None:
    """Hold a placeholder at a protected path. None: something is there. Errors: OSError."""
    if path.parent in opened:
        return placeholders.hold(opened[path.parent], path.name)
    parent_fd = files.open_path(path.parent)
    try:
        return placeholders.hold(parent_fd, path.name)
    finally:
        os.close(parent_fd)


def _environment_script(env: Mapping[str, str | None]) -> bytes:
    """Return a shell script that sets the variables. Errors: ValueError for a name or value that is impossible."""
    lines = []
    for name, value in env.items():
        if not is_settable(name) or "\0" in (value or ""):
            raise ValueError(f"the environment variable {name!r} cannot be set to this value")
        lines.append(f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}")
    return os.fsencode("\n".join(lines) + "\n")
