"""Commands of a worker: started, read, stopped, and never left behind.

The tool runner starts each command and sees it end (workers/runner/command.py). The output comes directly from the
command, over descriptors that the runner passes on. One thread reads all commands of a worker and never blocks. A
command ends together with its connection to the runner: when this worker ends, and when the runner ends. So that it
also ends when this worker stands still, the runner is told again and again for how long the command may run on: until
this worker would have ended it by itself, for its lease on the turn would be about to end.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

from shared.errors import SandboxUnavailable
from workers.control.signal import Signal, StopReason
from workers.sandbox import runner
from workers.sandbox.channel import Channel
from workers.sandbox.command_input import CommandInput
from workers.sandbox.command_output import CommandOutput
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.event_thread import EventThread, Timer
from workers.sandbox.messages import Ended, MayRun, RunRequest, StopRequest
from workers.sandbox.output import CappedOutput

GRACE_SECONDS = 2.0  # between TERM and KILL
DRAIN_SECONDS = 5.0  # for a command to end by itself when the worker shuts down
STOP_SECONDS = 10.0  # after KILL, for the runner to report the end; it gives a command up in half of that
DEATH_SECONDS = 5.0  # until a command whose runner was lost is given up
LOST_POLL_SECONDS = 0.05  # between checks whether such a command has ended
GUARD_BYTES = 1 << 16
MIN_BEAT_SECONDS = 0.1  # between two messages of a command's authority; the usual time is HEARTBEAT_SECONDS
BEATS = 5  # such messages at least while the authority lasts

REASONS = {StopReason.INTERRUPT: "interrupt", StopReason.REVOKED: "loss of the turn", StopReason.DRAIN: "shutdown"}
RUNNER_LOST = "the loss of the tool runner, so that its outcome is unknown,"

_lock = threading.Lock()
_thread: EventThread | None = None


def _commands_thread() -> EventThread:
    """Return the one thread of this process that serves all commands."""
    global _thread
    with _lock:
        if _thread is None:
            _thread = EventThread("commands")
        return _thread


class Process:
    """A command that runs in its sandbox.

    spec:       what runs
    exit_code:  its exit status, 128 + n when signal n ended it; None while it runs
    stopped_by: what ended it early ("interrupt", "shutdown", "time limit", …), or None
    authority:  returns for how many seconds the command may run on; the runner ends it then. None: no limit
    """

    def __init__(
        self,
        spec: CommandSpec,
        *,
        on_output: Callable[[str], None] | None = None,
        on_bytes: Callable[[int, bytes], bool] | None = None,
        authority: Callable[[], float] | None = None,
    ) -> None:
        """Start the command.

        on_output: called with each piece of text as it comes, in the commands' thread; must return at once. The pieces
                   together are `output.text()`: of output that is too long, the end comes as the last piece.
        on_bytes:  the same for a caller that wants all output as raw bytes: (1, standard output), (2, separate standard
                   error), and (0, b"") when the command has ended. Returning False pauses the command until `resume`.
        authority: see above; must return at once. When it is 0 at the last moment, as everything but the command
                   itself is set up, the command never runs. None: as long as this worker does not stand still
        Errors:    ToolError when it cannot be started, SandboxUnavailable when it cannot be contained
        """
        self.spec = spec
        self.exit_code: int | None = None
        self.stopped_by: str | None = None
        self._on_bytes = on_bytes
        self.authority = authority or _default_authority()
        self._ended = threading.Event()
        self._timers: list[Timer] = []
        self._beat: Timer | None = None
        self._stop_reason: str | None = None
        self._thread = _commands_thread()
        self._channel, fds, self._limits_time = _start(spec)
        self._started_at = time.monotonic()
        self._guard_fd: int | None = fds[0]
        self._output = CommandOutput(self._thread, fds[1:], spec.limits.output_bytes, on_output, on_bytes)
        self._input = CommandInput(self._thread, tty=spec.tty)
        self._thread.call(self._begin)

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @property
    def output(self) -> CappedOutput:
        """All output so far: standard output, with standard error mixed in unless that is separate."""
        return self._output.streams[0].output

    @property
    def stderr(self) -> CappedOutput:
        """Standard error of a command that was started with separate_stderr."""
        return self._output.streams[1].output

    @property
    def duration_s(self) -> float:
        return (self._ended_at if self.ended else time.monotonic()) - self._started_at

    def pop_unread(self) -> CappedOutput:
        """Return the output since the last call."""
        return self._output.pop_unread()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end of the whole process tree. Return whether it ended in that time."""
        return self._ended.wait(seconds)

    def wait_or_stop(self, stop: Signal, seconds: float | None, *, drain_s: float = DRAIN_SECONDS) -> bool:
        """Wait for the end, and end the command when the turn is asked to stop. Return whether it ended.

        Interrupted or revoked: the command is ended at once. Draining: it gets drain_s more, and this waits that long.
        """

        def on_stop(reason: StopReason) -> None:
            if reason in REASONS:
                self.terminate(REASONS[reason], after_s=drain_s if reason is StopReason.DRAIN else 0)

        with stop.subscribed(on_stop):
            self.wait(seconds)
            if any(reason in stop for reason in REASONS):
                self.wait()
        return self.ended

    def write(self, data: bytes) -> None:
        """Type on the command's terminal, or write to its input. Errors: ToolError."""
        self._input.check_room(data)
        self._thread.call(lambda: self._write(data))

    def end_input(self) -> None:
        """End the command's input; on a terminal, press the key that does so."""
        self._thread.call(self._end_input)

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the command's terminal."""
        self._thread.call(lambda: self._resize(rows, columns))

    def resume(self) -> None:
        """Continue after on_bytes returned False."""
        self._thread.call(self._output.resume)

    def terminate(self, reason: str, *, after_s: float = 0, grace_s: float = GRACE_SECONDS) -> None:
        """End the command now, or after_s from now: TERM to every process, KILL after grace_s to those left."""

        def stop() -> None:
            self._stop(reason, grace_s)

        self._thread.call(stop if after_s == 0 else lambda: self._later(after_s, stop))

    # All methods below run in the commands' thread.

    def _begin(self) -> None:
        self._thread.watch(self._channel.fileno(), self._on_runner_message)
        if self._guard_fd is not None:
            self._thread.watch(self._guard_fd, self._answer_guard)
        if self.spec.tty:
            terminal = self._output.streams[0].fd
            assert terminal is not None
            self._input.open(terminal)
        self._output.watch()
        self._send_authority()
        self._later(self.spec.limits.wall_seconds, lambda: self._stop("time limit", GRACE_SECONDS))

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._timers.append(self._thread.later(seconds, action))

    def _send_authority(self) -> None:
        """Tell the runner for how long the command may run on, again and again; not one of an earlier release."""
        if self.authority is None or not self._limits_time:
            return
        seconds = self.authority()
        if seconds > 0:
            with suppress(OSError):  # the runner is gone: its connection becomes readable, too
                self._channel.send(MayRun(may_run=seconds))
        pause_s = min(runner.HEARTBEAT_SECONDS, max(seconds / BEATS, MIN_BEAT_SECONDS))
        self._beat = self._thread.later(pause_s, self._send_authority)

    def _answer_guard(self) -> None:
        """Let the command begin, now that its sandbox is set up."""
        assert self._guard_fd is not None
        with suppress(OSError):
            if os.read(self._guard_fd, GUARD_BYTES) and (self.authority is None or self.authority() > 0):
                os.write(self._guard_fd, b"go\n")
                if self.spec.has_input and not self.spec.tty:  # the guard's socket is now the command's input
                    self._input.open(self._guard_fd)
        self._close_guard()

    def _close_guard(self) -> None:
        """Close the guard's socket. A guard that got no answer ends, and the sandbox with it."""
        if self._guard_fd is not None:
            self._thread.unwatch(self._guard_fd)
            os.close(self._guard_fd)
            self._guard_fd = None

    def _write(self, data: bytes) -> None:
        if not self.ended:
            self._input.write(data)

    def _end_input(self) -> None:
        if not self.ended:
            self._input.end()

    def _resize(self, rows: int, columns: int) -> None:
        terminal = self._output.streams[0].fd
        if self.spec.tty and terminal is not None:
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _stop(self, reason: str, grace_s: float) -> None:
        if self.ended or self._stop_reason:
            return
        self._stop_reason = reason
        if self._guard_fd is not None:  # it has not begun, and never will
            self.stopped_by = reason
            self._close_guard()
        with suppress(OSError):  # the runner is gone: its connection becomes readable, too
            self._channel.send(StopRequest(stop=grace_s))
        self._later(grace_s + STOP_SECONDS, self._channel.shut_down)  # as if the runner were lost

    def _on_runner_message(self) -> None:
        """Finish: either the command has ended, or the runner is lost."""
        try:
            message, _ = self._channel.receive() or ({}, [])
        except (OSError, ValueError):
            message = {}
        self._thread.unwatch(self._channel.fileno())
        self._channel.close()
        if isinstance(message.get("status"), int) and "stopped" in message:
            ended = cast(Ended, message)
            if ended["stopped"] is not None:
                self.stopped_by = self._stop_reason if ended["stopped"] == runner.BY_WORKER else ended["stopped"]
            self._finish(ended["status"], ended.get("notes", ()))
        else:
            self.stopped_by = RUNNER_LOST
            self._close_guard()
            self._lost_at = time.monotonic()
            self._finish_lost()

    def _finish_lost(self) -> None:
        """Finish when no process writes to the output any more: the kernel kills what a lost runner had started."""
        gave_up = time.monotonic() - self._lost_at > DEATH_SECONDS
        if self._output.is_closed or self._output.suspended or gave_up:
            self._finish(-signal.SIGKILL)
        else:
            self._later(LOST_POLL_SECONDS, self._finish_lost)

    def _finish(self, status: int, notes: Sequence[str] = ()) -> None:
        for timer in (*self._timers, self._beat):
            if timer is not None:
                timer.cancel()
        self._close_guard()
        self._input.close()
        self._output.finish("".join(f"[Threadhouse: {note}]\n" for note in notes))
        self.exit_code = status if status >= 0 else 128 - status
        self._ended_at = time.monotonic()
        self._ended.set()
        if self._on_bytes is not None:
            self._on_bytes(0, b"")


def _default_authority() -> Callable[[], float] | None:
    seconds = runner.authority_seconds
    return None if seconds is None else lambda: seconds


def _start(spec: CommandSpec) -> tuple[Channel, list[int], bool]:
    """Have the runner start a command. Return the connection to it, the command's descriptors, Started.limits_time."""
    channel = runner.connect()
    try:
        policy = spec.policy
        request = RunRequest(
            do="run", command=spec.to_message(), private_tmp=policy.private_tmp, visible=policy.visible
        )
        channel.send(request)
        answer, fds = channel.receive() or ({}, [])
        runner.raise_error(answer)
        if not fds:
            raise ConnectionResetError("the tool runner was lost")
    except (OSError, ValueError) as error:
        channel.close()
        raise SandboxUnavailable(f"{error}; the command has not begun") from error
    except BaseException:
        channel.close()
        raise
    return channel, fds, bool(answer.get("limits_time"))


def run_to_end(spec: CommandSpec, on_bytes: Callable[[int, bytes], bool] | None = None) -> Process:
    """Run a command outside of a turn. Return the ended process."""
    process = Process(spec, on_bytes=on_bytes)
    process.wait()
    return process
