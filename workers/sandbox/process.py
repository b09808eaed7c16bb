"""Commands of a worker: started, read, told to stop, and never left behind.

The tool runner starts them and sees them end (workers/runner/command.py); what they say comes straight from them, over
descriptors that the runner passes on. One thread reads all commands of a worker, without ever blocking. A command
ends with its connection to the runner: with this worker, and with the runner.
"""

from __future__ import annotations

import codecs
import fcntl
import logging
import os
import selectors
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from shared.errors import SandboxUnavailable, ToolError
from workers.agent.signal import Signal, Why
from workers.sandbox import runner
from workers.sandbox.event_thread import EventThread, Timer
from workers.sandbox.limits import CommandLimits
from workers.sandbox.output import CappedOutput
from workers.sandbox.policy import SandboxPolicy

GRACE_SECONDS = 2.0  # between TERM and KILL
DRAIN_SECONDS = 5.0  # that a command gets to end by itself when the worker shuts down
DEATH_SECONDS = 5.0  # until a command is given up whose runner was lost
LOST_POLL_SECONDS = 0.05  # between two looks at whether that has happened
READ_BYTES = 1 << 16
FLOOD_PAUSE_SECONDS = 0.005  # between reads of a command whose output is thrown away: 13 MB/s at most
MAX_UNREAD_INPUT_BYTES = 1 << 20
TERMINAL_ROWS_COLUMNS = (24, 120)
END_OF_INPUT = b"\x04"  # the key Ctrl-D

REASONS = {Why.INTERRUPT: "interrupt", Why.LOST: "loss of the turn", Why.DRAIN: "shutdown"}
RUNNER_LOST = "the loss of the tool runner, so that its outcome is unknown,"

logger = logging.getLogger(__name__)

_lock = threading.Lock()
_thread: EventThread | None = None


def _commands() -> EventThread:
    global _thread
    with _lock:
        if _thread is None:
            _thread = EventThread("commands")
        return _thread


class _Stream:
    """One descriptor that a command writes to, and what came out of it."""

    def __init__(self, fd: int, max_bytes: int) -> None:
        self.fd: int | None = fd
        self.output = CappedOutput(max_bytes)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        os.set_blocking(fd, False)

    def read(self) -> bytes | None:
        """What is new, nothing when there is none yet, None at the end."""
        assert self.fd is not None
        try:
            return os.read(self.fd, READ_BYTES) or None
        except BlockingIOError:
            return b""
        except OSError:  # EIO: the last process left the terminal
            return None

    def decode(self, data: bytes, *, final: bool = False) -> str:
        """The text that came with more bytes; half a character waits for its other half, or for the end."""
        return self._decoder.decode(data, final).replace("\0", "\ufffd")


class Process:
    """A command in its sandbox.

    on_output: called with each piece of text as it comes, in the commands' thread: must return at once. The pieces
               together are `output.text()`; of a command that says too much, its end comes as the last piece.
    on_bytes:  the same for who wants all of it, as it came: (1, standard output), (2, errors apart), and (0, nothing)
               when it has ended. False holds the command up until `resume`.
    exit_code: its exit status, 128 + n when signal n ended it; None while it runs
    stopped_by: what ended it before its time ("interrupt", "shutdown", "time limit", …), or None
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        policy: SandboxPolicy,
        limits: CommandLimits,
        tty: bool = False,
        rows_columns: tuple[int, int] = TERMINAL_ROWS_COLUMNS,
        has_input: bool = False,
        stderr_apart: bool = False,
        env: Mapping[str, str | None] | None = None,
        on_output: Callable[[str], None] | None = None,
        on_bytes: Callable[[int, bytes], bool] | None = None,
        may_begin: Callable[[], bool] | None = None,
        bwrap: str | None = None,
    ) -> None:
        """Start it; ToolError when that cannot be, SandboxUnavailable when it cannot be contained.

        has_input: without a terminal, too, it can be written to; else its input is empty
        env:       more variables, and None for those to leave out. Only the command gets them: bwrap itself, which
                   runs on the host, would load the library that a variable can name.
        may_begin: asked at the last moment, when all but the command itself is there; on False it never runs
        """
        self._limits = limits
        self._on_output = on_output
        self._on_bytes = on_bytes
        self._may_begin = may_begin
        self._held = False
        self._rows_columns = rows_columns
        self.tty = tty
        self.has_input = tty or has_input
        self.exit_code: int | None = None
        self.stopped_by: str | None = None
        self._ended = threading.Event()
        self._fresh_lock = threading.Lock()
        self._fresh = CappedOutput(limits.output_bytes)
        self._input_fd: int | None = None
        self._unsent = bytearray()
        self._input_ends = False
        self._timers: list[Timer] = []
        self._stop_reason: str | None = None
        self._thread = _commands()
        self._channel = runner.connect()
        try:
            self._channel.send(
                {
                    "do": "run",
                    "command": {
                        "argv": list(argv),
                        "cwd": cwd,
                        "policy": vars(policy),
                        "limits": asdict(limits),
                        "tty": tty,
                        "rows_columns": rows_columns,
                        "has_input": has_input,
                        "stderr_apart": stderr_apart,
                        "env": dict(env or {}),
                        "bwrap": bwrap,
                    },
                }
            )
            answer, fds = self._channel.receive() or ({}, [])
            runner.raise_failure(answer)
            if not fds:
                raise ConnectionResetError("the tool runner was lost")
        except (OSError, ValueError) as error:
            self._channel.close()
            raise SandboxUnavailable(f"{error}; the command has not begun") from error
        except BaseException:
            self._channel.close()
            raise
        self._started_at = time.monotonic()
        self._guard_fd: int | None = fds[0]
        self._streams = [_Stream(fd, limits.output_bytes) for fd in fds[1:]]
        if tty:
            self._input_fd = os.dup(fds[1])
        self._thread.call(self._begin)

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @property
    def output(self) -> CappedOutput:
        """All of it so far: standard output, mixed with the errors unless they were asked for apart."""
        return self._streams[0].output

    @property
    def errors(self) -> CappedOutput:
        """Standard error of a command started with stderr_apart."""
        return self._streams[1].output

    @property
    def duration_s(self) -> float:
        return (self._ended_at if self.ended else time.monotonic()) - self._started_at

    def take(self) -> CappedOutput:
        """What came since the last take."""
        with self._fresh_lock:
            taken, self._fresh = self._fresh, CappedOutput(self._limits.output_bytes)
        return taken

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end of the whole tree; whether it ended in that time."""
        return self._ended.wait(seconds)

    def attend(self, call: Signal, seconds: float | None, *, drain_s: float = DRAIN_SECONDS) -> bool:
        """Wait for the end, heeding the turn's calls; whether it ended.

        Interrupted or lost: ended at once. Draining: it gets drain_s more, and is waited for all that time.
        """

        def hear(why: Why) -> None:
            if why in REASONS:
                self.terminate(REASONS[why], after_s=drain_s if why is Why.DRAIN else 0)

        with call.heard_by(hear):
            self.wait(seconds)
            if any(why in call for why in REASONS):
                self.wait()
        return self.ended

    def write(self, data: bytes) -> None:
        """Type on its terminal, or write to its input. Errors: ToolError."""
        if len(self._unsent) + len(data) > MAX_UNREAD_INPUT_BYTES:
            raise ToolError("the command does not read its input")
        self._thread.call(lambda: self._type(data))

    def end_input(self) -> None:
        """There is no more to read for it; on a terminal, the key that says so."""
        self._thread.call(self._end_input)

    def resize(self, rows: int, columns: int) -> None:
        """Its terminal has another size."""
        self._thread.call(lambda: self._resize(rows, columns))

    def resume(self) -> None:
        """Go on after on_bytes said False."""
        self._thread.call(self._resume)

    def terminate(self, reason: str, *, after_s: float = 0, grace_s: float = GRACE_SECONDS) -> None:
        """Soon, or after_s from now: TERM to every process of the tree, KILL to those left after grace_s."""

        def stop() -> None:
            self._stop(reason, grace_s)

        self._thread.call(stop if after_s == 0 else lambda: self._later(after_s, stop))

    # All below runs in the commands' thread.

    def _begin(self) -> None:
        self._thread.watch(self._channel.fileno(), self._hear_runner)
        if self._guard_fd is not None:
            self._thread.watch(self._guard_fd, self._answer_guard)
        for stream in self._streams:
            self._listen(stream)
        self._later(self._limits.wall_seconds, lambda: self._stop("time limit", GRACE_SECONDS))

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self._timers.append(self._thread.later(seconds, act))

    def _answer_guard(self) -> None:
        assert self._guard_fd is not None
        with suppress(OSError):
            if os.read(self._guard_fd, READ_BYTES) and (self._may_begin is None or self._may_begin()):
                os.write(self._guard_fd, b"go\n")
                if self.has_input and not self.tty:  # the guard's socket is the command's input from now on
                    self._input_fd = os.dup(self._guard_fd)
                    os.set_blocking(self._input_fd, False)
                    self._send()
        self._dismiss_guard()

    def _dismiss_guard(self) -> None:
        """Without an answer it ends, and the sandbox with it."""
        if self._guard_fd is not None:
            self._thread.unwatch(self._guard_fd)
            os.close(self._guard_fd)
            self._guard_fd = None

    def _listen(self, stream: _Stream) -> None:
        if stream.fd is not None:
            self._thread.unwatch(stream.fd)
            if not self._held:
                self._thread.watch(stream.fd, lambda: self._read(stream))

    def _read(self, stream: _Stream) -> None:
        assert stream.fd is not None
        data = stream.read()
        if data is None:
            self._close(stream)
            return
        self._heard(stream, data)
        if self._held:
            for one in self._streams:
                self._listen(one)
        elif stream.output.overflows:
            self._thread.unwatch(stream.fd)
            self._thread.later(FLOOD_PAUSE_SECONDS, lambda: self._listen(stream))

    def _resume(self) -> None:
        if self._held:
            self._held = False
            for stream in self._streams:
                self._listen(stream)

    def _close(self, stream: _Stream) -> None:
        assert stream.fd is not None
        self._thread.unwatch(stream.fd)
        os.close(stream.fd)
        stream.fd = None

    def _heard(self, stream: _Stream, data: bytes, *, final: bool = False) -> None:
        if data and self._on_bytes is not None:
            self._held = not self._on_bytes(self._streams.index(stream) + 1, data)
        text = stream.decode(data, final=final)
        self._tell(stream.output.add(text))
        if stream is self._streams[0]:
            with self._fresh_lock:
                self._fresh.add(text)

    def _tell(self, text: str) -> None:
        if text and self._on_output is not None:
            try:
                self._on_output(text)
            except Exception:
                self._on_output = None
                logger.exception("output of a command cannot be passed on")

    def _type(self, data: bytes) -> None:
        if not self._input_ends and not self.ended:
            self._unsent += data
            self._send()

    def _end_input(self) -> None:
        if self.tty:
            self._type(END_OF_INPUT)
        else:
            self._input_ends = True
            self._send()

    def _send(self) -> None:
        """As much as it takes; the rest when it has read that."""
        if self._input_fd is None:  # not there yet, or not any more
            return
        try:
            while self._unsent:
                del self._unsent[: os.write(self._input_fd, self._unsent)]
        except BlockingIOError:
            self._thread.unwatch(self._input_fd)
            self._thread.watch(self._input_fd, self._send, selectors.EVENT_WRITE)
            return
        except OSError:  # nobody reads it any more
            self._unsent.clear()
        self._thread.unwatch(self._input_fd)
        if self._input_ends:
            self._close_input()

    def _close_input(self) -> None:
        if self._input_fd is not None:
            self._thread.unwatch(self._input_fd)
            os.close(self._input_fd)
            self._input_fd = None

    def _resize(self, rows: int, columns: int) -> None:
        terminal = self._streams[0].fd
        if self.tty and terminal is not None:
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _stop(self, reason: str, grace_s: float) -> None:
        if self.ended or self._stop_reason:
            return
        self._stop_reason = reason
        if self._guard_fd is not None:  # it has not begun, and never will
            self.stopped_by = reason
            self._dismiss_guard()
        with suppress(OSError):  # the runner is gone: that is heard, too
            self._channel.send({"stop": grace_s})

    def _hear_runner(self) -> None:
        """The command has ended, or the runner has."""
        try:
            said, _ = self._channel.receive() or ({}, [])
        except (OSError, ValueError):
            said = {}
        self._thread.unwatch(self._channel.fileno())
        self._channel.close()
        if "status" in said:
            if said["stopped"] is not None:
                self.stopped_by = self._stop_reason if said["stopped"] == runner.BY_WORKER else said["stopped"]
            self._finish(said["status"])
        else:
            self.stopped_by = RUNNER_LOST
            self._dismiss_guard()
            self._lost_at = time.monotonic()
            self._finish_lost()

    def _finish_lost(self) -> None:
        """The kernel kills what a lost runner had started: it is over when nobody holds its output any more."""
        gone = all(stream.fd is None for stream in self._streams)
        if gone or self._held or time.monotonic() - self._lost_at > DEATH_SECONDS:
            self._finish(-signal.SIGKILL)
        else:
            self._later(LOST_POLL_SECONDS, self._finish_lost)

    def _finish(self, status: int) -> None:
        for timer in self._timers:
            timer.cancel()
        self._dismiss_guard()
        self._close_input()
        for stream in self._streams:
            for _ in range(16):  # a pipe holds no more than that
                if stream.fd is None:
                    break
                data = stream.read()
                if not data:
                    self._close(stream)
                else:
                    self._heard(stream, data)
            if stream.fd is not None:
                self._close(stream)
            self._heard(stream, b"", final=True)
            self._tell(stream.output.ending())
        self.exit_code = status if status >= 0 else 128 - status
        self._ended_at = time.monotonic()
        self._ended.set()
        if self._on_bytes is not None:
            self._on_bytes(0, b"")


def run_to_end(
    argv: Sequence[str],
    *,
    cwd: Path,
    policy: SandboxPolicy,
    limits: CommandLimits,
    env: Mapping[str, str | None] | None = None,
    on_bytes: Callable[[int, bytes], bool] | None = None,
) -> Process:
    """Run a command outside of a turn, standard error apart; the ended process."""
    process = Process(argv, cwd=cwd, policy=policy, limits=limits, stderr_apart=True, env=env, on_bytes=on_bytes)
    process.wait()
    return process
