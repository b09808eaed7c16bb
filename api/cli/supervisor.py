"""Processes that belong together: started in order, restarted when they die, stopped in order, none left behind.

The supervisor is single-threaded where it matters: children are spawned, reaped and signalled by the main thread only
(a death signal follows the *thread* that spawned), and one wait hears signals, deaths and time-outs.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import click

from api.cli import child
from shared.errors import Unavailable

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FIRST_PAUSE_SECONDS = 0.5  # before a dead process is started again; doubled with each death
LONGEST_PAUSE_SECONDS = 30.0
HEALTHY_SECONDS = 30.0  # a process that lived this long starts again at the first pause
POLL_SECONDS = 0.05  # between two looks at whether something is ready
HURRY_SECONDS = 2.0  # what a process gets to end when it is stopped for the second time
LOG_TAIL_LINES = 15


class Stopped(Exception):
    """A stop signal arrived while something was still starting."""


class Child:
    """One process, and the ones that follow it when it dies.

    stop_seconds:  how long it may take to end after SIGTERM; then it is killed with its process group
    """

    def __init__(self, name: str, argv: Sequence[str], log: Path, stop_seconds: float) -> None:
        self.name = name
        self.log = log
        self.stop_seconds = stop_seconds
        self.restart_at = 0.0  # monotonic s; 0: running
        self._argv = [sys.executable, "-IS", child.__file__, str(os.getpid()), *argv]
        self._deaths = 0
        self._start()

    def restart(self) -> None:
        self.restart_at = 0.0
        self._start()

    def _start(self) -> None:
        with self.log.open("ab") as log:
            # In a session of its own: Ctrl-C in the terminal reaches only the supervisor, who knows the order.
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._started_at = time.monotonic()

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """As subprocess has it: negative for a signal; None while it runs."""
        return self._process.poll()

    def pause_seconds(self) -> float:
        """How long to wait before the next start, counting the death that just happened."""
        if time.monotonic() - self._started_at > HEALTHY_SECONDS:
            self._deaths = 0
        self._deaths += 1
        return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._deaths - 1, 10))

    def terminate(self) -> None:
        if self.exit_code() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it and its process group, at once."""
        if self.exit_code() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def last_words(self) -> str:
        """The last line of its log."""
        return (self._log_lines() or [""])[-1]

    def _log_lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()

    def log_tail(self) -> str:
        lines = self._log_lines()[-LOG_TAIL_LINES:]
        return "\n".join([f"the end of {self.log}:", *(f"    {line}" for line in lines)])


class Supervisor:
    """Use as a context: leaving it stops every child, in the order of stop_order (name prefixes)."""

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
        self._before = {number: signal.signal(number, _heard) for number in (*STOP_SIGNALS, signal.SIGCHLD)}
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
        """Start a process and keep it running; its output goes to LOGS/NAME.log, the last run's to NAME.log.1."""
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
            raise Unavailable(f"{name} did not succeed; {once.log_tail()}")
        self._children.remove(once)

    def wait_until_ready(self, waited_for: Child, ready: Callable[[], bool], *, seconds: float) -> None:
        """Errors: Unavailable (it or another child died, or time is up; with the end of its log); Stopped."""
        deadline = time.monotonic() + seconds
        while not ready():
            for process in self._children:
                if process.exit_code() is not None:
                    raise Unavailable(f"{process.name} ended ({_manner(process)}); {process.log_tail()}")
            if time.monotonic() > deadline:
                raise Unavailable(f"{waited_for.name} was not ready after {seconds:g} s; {waited_for.log_tail()}")
            self._wait(POLL_SECONDS)
            self._raise_if_stopped()

    def supervise(self, until: Callable[[], bool]) -> None:
        """Restart what dies, until a stop signal arrives or `until` (asked at least every half second) says so."""
        while not self._stops and not until():
            for process in self._children:
                if process.restart_at:
                    if time.monotonic() >= process.restart_at:
                        process.restart()
                elif process.exit_code() is not None:
                    pause = process.pause_seconds()
                    process.restart_at = time.monotonic() + pause
                    self._say(
                        f"{process.name} ended ({_manner(process)}); it starts again in {pause:g} s: {process.log}"
                    )
                    if words := process.last_words():
                        self._say(f"    its last words: {words}")
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
        """Until a signal arrives or the time is up."""
        if select.select([self._wake_read], [], [], seconds)[0]:
            self._stops += sum(number in STOP_SIGNALS for number in os.read(self._wake_read, 1024))

    def _raise_if_stopped(self) -> None:
        if self._stops:
            raise Stopped


def say(text: str, end: str = "\n") -> None:
    """Text to the terminal, which may be gone."""
    try:
        click.echo(f"{text}{end}", nl=False)
    except OSError:
        pass


def _manner(process: Child) -> str:
    code = process.exit_code()
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _heard(number: int, frame: object) -> None:
    """A handler must be there for the wake-up to be written; `_wait` reads which signal it was."""
