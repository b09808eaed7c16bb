"""Processes of one server: started in order, restarted when they end, stopped in order, none left behind.

Only the main thread starts, reaps and signals children, because a death signal follows the *thread* that started the
child. One wait covers signals, ended children and timeouts.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import click

from api.cli import child
from shared.errors import Unavailable

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FIRST_PAUSE_SECONDS = 0.5  # before a process that ended is started again; doubled each time
LONGEST_PAUSE_SECONDS = 30.0
HEALTHY_SECONDS = 30.0  # after a run of this length the pause is the first one again
POLL_SECONDS = 0.05  # between two checks whether something is ready
HURRY_SECONDS = 2.0  # how long a process may take to end after a second stop signal
LOG_TAIL_LINES = 15
TAIL_BYTES = 64 * 1024  # of a log that are read for its last lines
MAX_LOG_BYTES = 64 << 20


class Stopped(Exception):
    """A stop signal arrived while a process was starting."""


class Child:
    """One process, and its successors when it is restarted.

    stop_seconds:  how long it may take to end after SIGTERM; then it is killed with its process group
    """

    def __init__(self, name: str, argv: Sequence[str], log: Path, stop_seconds: float) -> None:
        self.name = name
        self.log = log
        self.stop_seconds = stop_seconds
        self.restart_at = 0.0  # monotonic seconds; 0: running
        self._argv = [sys.executable, "-IS", child.__file__, str(os.getpid()), *argv]
        self._ends = 0  # since the last healthy run
        self._start()

    def restart(self) -> None:
        self.restart_at = 0.0
        self._start()

    def _start(self) -> None:
        with self.log.open("ab") as log:
            # In its own session, so that Ctrl-C in the terminal reaches only the supervisor, which stops in order.
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._started_at = time.monotonic()

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return the exit code as subprocess does: negative for a signal, None while it runs."""
        return self._process.poll()

    def pause_seconds(self) -> float:
        """Count an end of the process; return how long to wait before the next start."""
        if time.monotonic() - self._started_at > HEALTHY_SECONDS:
            self._ends = 0
        self._ends += 1
        return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._ends - 1, 10))

    def terminate(self) -> None:
        if self.exit_code() is None:
            self._process.terminate()

    def kill(self) -> None:
        """Kill the process and its process group."""
        if self.exit_code() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def last_log_line(self) -> str:
        """Return the last line of its log, or "" when the log is empty."""
        return (self._log_lines() or [""])[-1]

    def shorten_log(self) -> None:
        """Let NAME.log.1 have the lines of a long log. A line that is written at this moment can get lost."""
        earlier = self.log.with_suffix(".log.1")
        with suppress(OSError):  # somebody has removed it
            if self.log.stat().st_size <= MAX_LOG_BYTES:
                return
            try:
                shutil.copyfile(self.log, earlier)
            except OSError:  # the disk is full, so the lines are given up
                earlier.unlink(missing_ok=True)
            os.truncate(self.log, 0)  # the child appends, so it goes on at the beginning

    def _log_lines(self) -> list[str]:
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
                return log.read().decode(errors="replace").splitlines()
        except OSError:
            return []

    def log_tail(self) -> str:
        """Return the last lines of its log, with a heading."""
        lines = self._log_lines()[-LOG_TAIL_LINES:]
        return "\n".join([f"the end of {self.log}:", *(f"    {line}" for line in lines)])


class Supervisor:
    """Starts, restarts and stops children; leaving its context stops all of them.

    logs:       folder for the logs of children
    stop_order: name prefixes, in the order in which their children are stopped
    say:        prints a line for the operator
    """

    def __init__(self, logs: Path, stop_order: Sequence[str], say: Callable[[str], None]) -> None:
        self._logs = logs
        self._stop_order = stop_order
        self._say = say
        self._children: list[Child] = []
        self._stops = 0

    def __enter__(self) -> Supervisor:
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, _ignore) for number in (*STOP_SIGNALS, signal.SIGCHLD)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def start(self, name: str, argv: Sequence[str], *, stop_seconds: float) -> Child:
        """Start a process and keep it running. Its output goes to NAME.log; the log before becomes NAME.log.1."""
        log = self._logs / f"{name}.log"
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        self._children.append(Child(name, argv, log, stop_seconds))
        return self._children[-1]

    def run_once(self, name: str, argv: Sequence[str], *, seconds: float) -> None:
        """Run a process to its end. Errors: Unavailable (it failed or took longer); Stopped."""
        once = self.start(name, argv, stop_seconds=HURRY_SECONDS)
        deadline = time.monotonic() + seconds
        while once.exit_code() is None and time.monotonic() < deadline:
            self._wait(POLL_SECONDS)
            self._raise_if_stopped()
        if once.exit_code() != 0:
            raise Unavailable(f"{name} failed; {once.log_tail()}")
        self._children.remove(once)

    def wait_until_ready(self, waited_for: Child, ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until `ready()` is true.

        Errors: Unavailable (a child ended, or the time is up; with the end of the log); Stopped
        """
        deadline = time.monotonic() + seconds
        while not ready():
            for process in self._children:
                if process.exit_code() is not None:
                    raise Unavailable(f"{process.name} ended ({_cause(process)}); {process.log_tail()}")
            if time.monotonic() > deadline:
                raise Unavailable(f"{waited_for.name} was not ready after {seconds:g} s; {waited_for.log_tail()}")
            self._wait(POLL_SECONDS)
            self._raise_if_stopped()

    def supervise(self, until: Callable[[], bool]) -> None:
        """Restart children that end, until a stop signal arrives or `until()` is true (called every half second)."""
        while not self._stops and not until():
            for process in self._children:
                process.shorten_log()
                if process.restart_at:
                    if time.monotonic() >= process.restart_at:
                        process.restart()
                elif process.exit_code() is not None:
                    pause = process.pause_seconds()
                    process.restart_at = time.monotonic() + pause
                    self._say(
                        f"{process.name} ended ({_cause(process)}); it starts again in {pause:g} s: {process.log}"
                    )
                    if line := process.last_log_line():
                        self._say(f"    last line of its log: {line}")
            self._wait(0.5)

    def _stop(self) -> None:
        self._stops = max(self._stops, 1)
        for prefix in self._stop_order:
            group = [process for process in self._children if process.name.startswith(prefix)]
            started = time.monotonic()
            for process in group:
                process.terminate()
            while any(process.exit_code() is None for process in group):
                elapsed = time.monotonic() - started
                for process in group:
                    allowed = process.stop_seconds if self._stops == 1 else min(process.stop_seconds, HURRY_SECONDS)
                    if elapsed > allowed:
                        process.kill()
                self._wait(POLL_SECONDS)

    def _wait(self, seconds: float) -> None:
        """Wait until a signal arrives or the time is up."""
        if select.select([self._wake_read], [], [], seconds)[0]:
            self._stops += sum(number in STOP_SIGNALS for number in os.read(self._wake_read, 1024))

    def _raise_if_stopped(self) -> None:
        if self._stops:
            raise Stopped


def say(text: str, end: str = "\n") -> None:
    """Print text to the terminal, which may be closed."""
    try:
        click.echo(f"{text}{end}", nl=False)
    except OSError:
        pass


def _cause(process: Child) -> str:
    code = process.exit_code()
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _ignore(number: int, frame: object) -> None:
    """Do nothing: Python writes a signal to the wake-up pipe, from which `_wait` reads it, only if it has a handler."""
