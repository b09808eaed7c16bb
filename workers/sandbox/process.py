"""Commands: started, read, told to stop, and never left behind.

One thread does it for all commands of a worker. It starts them, because the kernel ends a sandbox together with the
*thread* that started it (`--die-with-parent`), reads them without ever blocking, and sees them end. A sandbox has its
own process namespace, so ending it ends every process in it, whatever session or parent that one gave itself.
"""

from __future__ import annotations

import codecs
import fcntl
import heapq
import itertools
import json
import logging
import os
import random
import selectors
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.errors import ToolError
from workers.agent.signal import Signal, Why
from workers.sandbox import bubblewrap
from workers.sandbox.limits import CommandLimits, system_program
from workers.sandbox.output import CappedOutput, shorten
from workers.sandbox.policy import SandboxPolicy

GRACE_SECONDS = 2.0  # between TERM and KILL
DRAIN_SECONDS = 5.0  # that a command gets to end by itself when the worker shuts down
DEATH_SECONDS = 5.0  # after KILL; only a process stuck in the kernel takes longer, and it is given up
READ_BYTES = 1 << 16
FLOOD_PAUSE_SECONDS = 0.005  # between reads of a command whose output is thrown away: 13 MB/s at most
MAX_UNREAD_INPUT_BYTES = 1 << 20
TERMINAL_ROWS_COLUMNS = (24, 120)
END_OF_INPUT = b"\x04"  # the key Ctrl-D
MAX_SESSIONS = 16  # of one turn
UNREAD_TOKENS = 2000  # of output that the model is told when a session is ended for it

# A sandbox is tied to us only when bwrap is done with it. So its first program says that it is there, on a socket in
# the place of its input, and goes on to the command when we answer: without us nothing runs.
GUARD = 'echo >&0 && read -r go && exec "$@"'

REASONS = {Why.INTERRUPT: "interrupt", Why.LOST: "loss of the turn", Why.DRAIN: "shutdown"}

logger = logging.getLogger(__name__)


class _Timer:
    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act

    def cancel(self) -> None:
        self.act = None  # it stays in the queue, but holds nothing


class _CommandThread:
    """Runs what is due: calls from other threads, readable descriptors, timers."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._calls: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, _Timer]] = []
        self._numbers = itertools.count()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ, lambda: os.eventfd_read(self._wake))
        threading.Thread(target=self._run, name="commands", daemon=True).start()

    def call(self, act: Callable[[], None]) -> None:
        """Have it done soon; from any thread."""
        self._calls.append(act)
        os.eventfd_write(self._wake, 1)

    def later(self, seconds: float, act: Callable[[], None]) -> _Timer:
        timer = _Timer(act)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), timer))
        return timer

    def watch(self, fd: int, act: Callable[[], object], events: int = selectors.EVENT_READ) -> None:
        self._selector.register(fd, events, act)

    def unwatch(self, fd: int) -> None:
        with suppress(KeyError):
            self._selector.unregister(fd)

    def _run(self) -> None:
        while True:
            due_s = self._timers[0][0] - time.monotonic() if self._timers else None
            for key, _ in self._selector.select(None if due_s is None else max(0.0, due_s)):
                if self._selector.get_map().get(key.fd) is key:  # not dropped by what was done just now
                    self._do(key.data)
            while self._calls:
                self._do(self._calls.popleft())
            while self._timers and self._timers[0][0] <= time.monotonic():
                act = heapq.heappop(self._timers)[2].act
                if act is not None:
                    self._do(act)

    def _do(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception:  # one command must not take the others with it
            logger.exception("a command's event failed")


def bury_leftovers() -> None:
    """End what a worker left behind that was killed while bwrap was half-way: it waits for ever and runs nothing."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            program, *options = (folder / "cmdline").read_bytes().split(b"\0")
            if Path(os.fsdecode(program)).name == "bwrap" and options[:1] == [b"--info-fd"]:
                outer = os.getsid(int(folder.name))  # each is the leader of its session
                if not Path(f"/proc/{outer}").exists():
                    os.kill(int(folder.name), signal.SIGKILL)


_lock = threading.Lock()
_thread: _CommandThread | None = None


def _commands() -> _CommandThread:
    global _thread
    with _lock:
        if _thread is None:
            bury_leftovers()
            _thread = _CommandThread()
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

    def descendants(self) -> list[int]:
        pids = [self.pid]
        for pid in pids:  # grows as it goes
            for file in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(OSError):
                    pids += map(int, file.read_text().split())
        return pids[1:]


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
        source = " <&1" if tty else "" if has_input else " </dev/null"
        guard = ["/bin/sh", "-c", GUARD + source, "sh"]
        terminal = [system_program("setsid"), "--ctty", "--"] if tty else []  # Ctrl-C must not reach bwrap itself
        contained = bubblewrap.containment(policy, cwd, tty=tty)
        self._bwrap = bwrap or bubblewrap.find_bwrap()
        self._argv = [*contained, *guard, *limits.prlimit(), *terminal, *argv]
        self._env = bubblewrap.environment(policy, tty=tty)
        self._own_env = env or {}
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
        self._inner: _Inner | None = None
        self._timers: list[_Timer] = []
        self._stopping = False
        self._thread = _commands()
        started: Future[None] = Future()
        self._thread.call(lambda: self._start(stderr_apart, started))
        started.result()

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

    def _start(self, stderr_apart: bool, started: Future[None]) -> None:
        ours: list[int] = []
        theirs: list[int] = []
        popen: subprocess.Popen[bytes] | None = None
        try:
            info_fd = os.memfd_create("info")  # no pipe: bwrap must not fail half-way when nobody reads it any more
            ours.append(info_fd)
            guard, guard_end = socket.socketpair()
            ours.append(guard.detach())
            theirs.append(guard_end.detach())
            if self.tty:
                terminal, slave = os.openpty()
                ours.append(terminal)
                theirs += [slave] * 2
                fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *self._rows_columns, 0, 0))
            else:
                for _ in range(2 if stderr_apart else 1):
                    end, their_end = os.pipe()
                    ours.append(end)
                    theirs.append(their_end)
                theirs.append(theirs[-1])
            words = ["--info-fd", str(info_fd)]
            if self._own_env:  # not in the command line, where everybody on the host may read it
                env_fd = os.memfd_create("env")
                theirs.append(env_fd)
                os.write(env_fd, _env_words(self._own_env))
                os.lseek(env_fd, 0, os.SEEK_SET)
                words += ["--args", str(env_fd)]
            popen = self._popen = subprocess.Popen(
                [self._bwrap, *words, *self._argv],
                stdin=theirs[0],
                stdout=theirs[1],
                stderr=theirs[2],
                env=self._env,
                cwd="/",
                pass_fds=[int(fd) for fd in words[1::2]],
                start_new_session=True,
            )
            self._outer_fd = os.pidfd_open(popen.pid)
        except Exception as error:  # noqa: BLE001 - it is handed to the caller, who waits for it
            if popen is not None:
                popen.kill()
                popen.wait()
            for fd in ours:
                os.close(fd)
            failed = isinstance(error, (OSError, ValueError))
            started.set_exception(ToolError(f"cannot start the command: {error}") if failed else error)
            return
        finally:
            for fd in set(theirs):
                os.close(fd)
        self._started_at = time.monotonic()
        self._info_fd: int | None = ours[0]
        self._guard_fd: int | None = ours[1]
        self._streams = [_Stream(fd, self._limits.output_bytes) for fd in ours[2:]]
        if self.tty:
            self._input_fd = os.dup(ours[2])
        self._thread.watch(self._guard_fd, self._answer_guard)
        for stream in self._streams:
            self._listen(stream)
        self._thread.watch(self._outer_fd, self._outer_ended)
        self._later(self._limits.wall_seconds, lambda: self._stop("time limit", GRACE_SECONDS))
        started.set_result(None)

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self._timers.append(self._thread.later(seconds, act))

    def _answer_guard(self) -> None:
        assert self._guard_fd is not None
        self._find_inner()
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

    def _find_inner(self) -> None:
        if self._info_fd is not None:
            self._inner = _Inner.find(os.pread(self._info_fd, READ_BYTES, 0))
            if self._inner is not None:
                os.close(self._info_fd)
                self._info_fd = None

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
        if self.ended or self._stopping:
            return
        self._stopping = True
        if self._popen.returncode is None:
            self.stopped_by = reason
        self._later(grace_s, self._kill)
        if self._guard_fd is not None:  # still being set up; to kill bwrap now would leave what it made behind
            self._dismiss_guard()
        elif self._inner is not None and self._inner.is_there():
            for pid in self._inner.descendants():
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGTERM)

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
        logger.error("a command's processes do not die", extra={"pid": self._popen.pid})
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
            self._heard(stream, b"", final=True)
            self._tell(stream.output.ending())
        status = self._popen.returncode
        self.exit_code = status if status >= 0 else 128 - status
        self._ended_at = time.monotonic()
        self._ended.set()
        if self._on_bytes is not None:
            self._on_bytes(0, b"")


def _env_words(env: Mapping[str, str | None]) -> bytes:
    """Options of bwrap as its --args reads them. Errors: ValueError, for what cannot be a variable."""
    words = []
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + (value or ""):
            raise ValueError(f"not a variable: {name!r}")
        words += ["--unsetenv", name] if value is None else ["--setenv", name, value]
    return b"".join(os.fsencode(word) + b"\0" for word in words)


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


@dataclass
class Session:
    """A command that may outlive the call that started it.

    item:      its commandExecution item as it began (PROTOCOL 3.3)
    completed: whether the end of that item has been handed out
    """

    id: int
    process: Process
    item_id: str
    item: dict[str, Any]
    completed: bool = False

    def ended_item(self) -> dict[str, Any]:
        """The item as it ended."""
        self.completed = True
        succeeded = self.process.exit_code == 0 and self.process.stopped_by is None
        return {
            **self.item,
            "processId": str(self.id),
            "source": "unifiedExecStartup",
            "status": "completed" if succeeded else "failed",
            "aggregatedOutput": self.process.output.text(),
            "exitCode": self.process.exit_code,
            "durationMs": round(self.process.duration_s * 1000),
        }

    def ending(self) -> str:
        """How it ended, in words for the model."""
        if self.process.stopped_by is None:
            return f"Process exited with code {self.process.exit_code}"
        return f"Process stopped by {self.process.stopped_by} after {self.process.duration_s:.1f} s"


@dataclass(frozen=True, slots=True)
class Ended:
    """A session's command that ended: complete item_id with item; tell the model `told`."""

    item_id: str
    item: dict[str, Any]
    told: str


@dataclass
class Sessions:
    """The commands of one turn that go on between its calls. Used by the turn's own thread.

    may_begin: as of Process: whether the turn is still this worker's
    """

    limits: CommandLimits = field(default_factory=CommandLimits)
    may_begin: Callable[[], bool] | None = None
    _open: dict[int, Session] = field(default_factory=dict)

    def start(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        policy: SandboxPolicy,
        item_id: str,
        item: dict[str, Any],
        tty: bool = False,
        on_output: Callable[[str], None] | None = None,
    ) -> Session:
        """Start a command as a session; ToolError when MAX_SESSIONS go on already."""
        if sum(not session.process.ended for session in self._open.values()) >= MAX_SESSIONS:
            raise ToolError(f"{MAX_SESSIONS} commands are running already; end one first")
        process = Process(
            argv,
            cwd=cwd,
            policy=policy,
            limits=self.limits,
            tty=tty,
            on_output=on_output,
            may_begin=self.may_begin,
        )
        number = random.randrange(1000, 100_000)
        while number in self._open:
            number = random.randrange(1000, 100_000)
        session = self._open[number] = Session(number, process, item_id, item)
        return session

    def get(self, session_id: int) -> Session:
        """The session of that number; ToolError when there is none (any more)."""
        if session_id not in self._open:
            raise ToolError(f"no session {session_id}: it has ended, or never was")
        return self._open[session_id]

    def forget(self, session: Session) -> None:
        """Drop a session whose end the model has been told."""
        del self._open[session.id]

    def reap(self) -> list[Ended]:
        """Commands that ended since the last time; each remains a session until the model reads its end."""
        ended = [one for one in self._open.values() if one.process.ended and not one.completed]
        return [Ended(one.item_id, one.ended_item(), _told(one)) for one in ended]

    def close_all(self, reason: str) -> list[Ended]:
        """End all commands and wait until they are dead; those whose item is still open."""
        sessions, self._open = list(self._open.values()), {}
        for session in sessions:
            session.process.terminate(reason)
        for session in sessions:
            session.process.wait()
        return [
            Ended(one.item_id, one.ended_item(), _told(one, one.process.take().text()))
            for one in sessions
            if not one.completed
        ]


def _told(session: Session, unread: str = "") -> str:
    told = f"Session {session.id} ({session.item['command']}): {session.ending()}"
    return f"{told}\nOutput:\n{shorten(unread, UNREAD_TOKENS)}" if unread else told
