"""A worker's connection to its tool runner, and the table of functions that are executed there.

Users' commands, and everything done in users' folders, run in a process without credentials; in a deployment that
process has a user of its own, so that whatever breaks out of a sandbox does not land beside the keys. Where no socket
of such a runner is configured, the worker starts a runner for itself, which ends with it; everything else is the same.

A connection carries any number of operations, one after the other, or one command, which ends with the connection.
While anything waits for the runner, it is asked for heartbeats. A runner that stands still is lost: it is killed if it
is our own (workers/runner/watcher.py kills that of a host), and everything that waits for it ends. A worker that stands
still loses its commands: each has its authority (workers/sandbox/process.py), which the runner keeps the time of.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import socket
import stat as modes
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypedDict, TypeVar, cast

from shared.errors import SandboxUnavailable, ToolError
from workers.sandbox.channel import Channel
from workers.sandbox.messages import HEARTBEAT, Failure, OperationRequest, OperationResult

CONNECT_SECONDS = 5.0  # a runner that is being restarted answers within that time
RETRY_SECONDS = 0.1  # between attempts to connect
ANSWER_SECONDS = 300.0  # the slowest operations delete or copy a large folder
HEARTBEAT_SECONDS = 1.0  # between heartbeats
SILENCE_SECONDS = 8.0  # a runner that does not answer a heartbeat for so long is lost; less than a worker has to drain
KILL_SECONDS = 5.0  # for which the end of a runner that was killed, or lost a connection, is waited for
MAX_IDLE = 16  # connections that are kept open
PEER = struct.Struct("3i")  # pid, uid, gid
BY_WORKER = "its worker"  # why a command was ended whose worker asked for that
SILENCE = "its tool runner, because its worker or the database stood still for too long,"
ERRORS = {error.__name__: error for error in (ToolError, SandboxUnavailable)}
BOOT = "import sys, json; sys.path[:] = json.loads(sys.argv.pop()); from workers.runner.server import main; main()"

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

OPERATIONS: dict[str, Callable[..., Any]] = {}  # the functions that a runner executes for workers, by name
is_runner = False  # whether this process is a runner
authority_seconds: float | None = None  # how long a command without a lease runs on beside a worker that stands still


class RunnerArguments(TypedDict, total=False):
    """What a runner process is started with.

    log_format: "text" or "json"
    control: descriptor of the socket over which its own worker passes it connections
    Or, for a runner that serves a host:
    socket:  path of the socket that it listens at
    group:   gid that may connect; None: only the socket's owner
    worker:  uid of the workers that it serves
    Or, for the watcher of such a runner:
    watched: descriptor of its connection to the runner, which is its parent
    """

    log_format: str
    control: int
    socket: str
    group: int | None
    worker: int
    watched: int


def by_runner(function: Callable[P, T]) -> Callable[P, T]:
    """Execute a function in the runner, with the same arguments, result and errors; also SandboxUnavailable."""
    return _by_runner(function, attempts=1)


def repeatable_by_runner(function: Callable[P, T]) -> Callable[P, T]:
    """As by_runner, for a function that may be executed twice: when the runner was lost, the next one is asked."""
    return _by_runner(function, attempts=2)


def _by_runner(function: Callable[P, T], attempts: int) -> Callable[P, T]:
    OPERATIONS[function.__name__] = function

    @functools.wraps(function)
    def request(*args: P.args, **kwargs: P.kwargs) -> T:
        if is_runner:
            return function(*args, **kwargs)
        result: T = _runner.request(function.__name__, args, kwargs, attempts)
        return result

    return request


def connect() -> Channel:
    """Open a connection for one command. Errors: SandboxUnavailable."""
    return _runner.connect()


def configure(path: Path | None, log_format: str = "text", authority_s: float | None = None) -> None:
    """Use the runner that listens at a path, or one of our own (None). Call this before all else in this module.

    log_format:  of a runner of our own
    authority_s: see authority_seconds; None: no limit
    """
    global _runner, authority_seconds
    authority_seconds = authority_s
    _runner.close()
    _runner = _Runner(path, log_format)


def command_line(arguments: RunnerArguments) -> list[str]:
    """Return a runner's argv. It carries the path to the code, because a runner's environment is empty."""
    path = json.dumps([str(Path(__file__).parents[2]), *sys.path])
    return [sys.executable, "-IS", "-c", BOOT, json.dumps(arguments), path]


def environment() -> dict[str, str]:
    """Return the only variables that a runner inherits: those by which programs are found."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def encode_error(error: Exception) -> Failure:
    """Return an error as it is sent to the worker."""
    if isinstance(error, OSError) and error.errno is not None:
        name = error.filename if isinstance(error.filename, str) else None
        return {"error": "OSError", "arguments": [error.errno, error.strerror, name]}
    kind = type(error).__name__
    return {"error": kind if kind in ERRORS else "Exception", "arguments": [str(error)]}


def raise_error(answer: Mapping[str, object]) -> None:
    """Raise the error that a runner answered with, if it did."""
    if "error" not in answer:
        return
    failure = cast(Failure, answer)
    arguments = failure["arguments"]
    if failure["error"] == "OSError":
        raise OSError(*arguments)
    raise ERRORS.get(failure["error"], ToolError)(*map(str, arguments))


class _Runner:
    """The runner of this process, the idle connections to it, and the child process if it is our own."""

    def __init__(self, path: Path | None, log_format: str = "text") -> None:
        self._path = path
        self._log_format = log_format
        self._lock = threading.Lock()
        self._idle: list[Channel] = []
        self._busy: set[Channel] = set()  # closed ones are removed by _busy_channels
        self._used = threading.Event()  # a channel became busy
        self._heartbeats: threading.Thread | None = None
        self._closed = False
        self._child: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def request(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], attempts: int = 1) -> Any:
        """Execute an operation in the runner. Return its result, or raise its error.

        attempts: how often it may be executed, should the runner be lost
        """
        channel = self._pop_idle() or self.connect()
        try:
            channel.send(OperationRequest(do=name, args=list(args), kwargs=dict(kwargs)))
            received = channel.receive()
            if received is None:
                raise ConnectionResetError
        except (OSError, ValueError) as error:
            channel.close()
            if attempts > 1:
                self._wait_for_dying_child()
                return self.request(name, args, kwargs, attempts - 1)
            raise SandboxUnavailable(
                "the tool runner was lost, so it is unknown whether this was done. "
                "If it does not come back, see the runner's log"
            ) from error
        self._keep_idle(channel)
        raise_error(received[0])
        return cast(OperationResult, received[0])["result"]

    def connect(self) -> Channel:
        until_s = time.monotonic() + CONNECT_SECONDS
        while True:
            try:
                channel = self._open_channel()
                channel.set_timeout(ANSWER_SECONDS)
                self._mark_busy(channel)
                return channel
            except OSError as error:
                if time.monotonic() > until_s:
                    where = (
                        f"at {self._path}: {error.strerror or error}; start" if self._path else f"({error}); see why"
                    )
                    raise SandboxUnavailable(
                        f"the tool runner does not answer {where} `threadhouse runner`, or run `threadhouse doctor`"
                    ) from error
            time.sleep(RETRY_SECONDS)

    def close(self) -> None:
        """End the heartbeats, and our own runner with its commands."""
        with self._lock:
            self._closed = True
            self._used.set()
            if self._control is not None:
                self._control.close()

    def _open_channel(self) -> Channel:
        return Channel(self._connect_to_child() if self._path is None else _connect_to(self._path))

    def _mark_busy(self, channel: Channel) -> None:
        with self._lock:
            self._busy.add(channel)
            self._used.set()
            if self._heartbeats is None:
                self._heartbeats = threading.Thread(target=self._request_heartbeats, name="heartbeats", daemon=True)
                self._heartbeats.start()

    def _busy_channels(self) -> set[Channel]:
        with self._lock:
            self._busy = {channel for channel in self._busy if not channel.is_closed}
            return set(self._busy)

    def _request_heartbeats(self) -> None:
        """Lose the runner when it gives no sign of life although something waits for it."""
        heart: Channel | None = None
        while not self._closed:
            self._used.wait()
            self._used.clear()
            while (busy := self._busy_channels()) and not self._closed:
                child = self._child
                try:
                    if heart is None:
                        heart = self._open_channel()
                    heart.set_timeout(SILENCE_SECONDS)
                    heart.send(OperationRequest(do=HEARTBEAT, args=[], kwargs={}))
                    if heart.receive() is None:
                        raise ConnectionResetError
                except (OSError, ValueError, SandboxUnavailable) as error:
                    if heart is not None:
                        heart.close()
                        heart = None
                    if isinstance(error, TimeoutError | BlockingIOError):  # else its connections have ended by now
                        self._lose(child, busy)
                time.sleep(HEARTBEAT_SECONDS)

    def _lose(self, child: subprocess.Popen[bytes] | None, busy: set[Channel]) -> None:
        """End a runner that does not answer, and fail everything that waits for it."""
        logger.error("tool runner did not answer for %g s, %d requests and commands lost", SILENCE_SECONDS, len(busy))
        if child is not None:
            child.kill()
            with suppress(subprocess.TimeoutExpired):
                child.wait(KILL_SECONDS)  # else what is asked again could reach the runner that is about to end
        with self._lock:
            idle, self._idle = self._idle, []
        for channel in [*busy, *idle]:
            channel.shut_down()

    def _wait_for_dying_child(self) -> None:
        """Wait until our own runner has ended, if it is about to: it may take new connections, and answers none."""
        child = self._child
        if child is not None:
            with suppress(subprocess.TimeoutExpired):
                child.wait(KILL_SECONDS)

    def _pop_idle(self) -> Channel | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                channel = self._idle.pop()
            if channel.is_quiet():
                self._mark_busy(channel)
                return channel
            channel.close()

    def _keep_idle(self, channel: Channel) -> None:
        with self._lock:
            self._busy.discard(channel)
            if len(self._idle) < MAX_IDLE:
                self._idle.append(channel)
                return
        channel.close()

    def _connect_to_child(self) -> socket.socket:
        """Start our own runner if it does not run, and pass it a new connection. Errors: OSError."""
        ours, theirs = socket.socketpair()
        try:
            with self._lock:
                if self._child is None or self._child.poll() is not None:
                    self._start()
                assert self._control is not None
                socket.send_fds(self._control, [b"c"], [theirs.fileno()])
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def _start(self) -> None:
        """Start our own runner. It ends when its control socket closes: together with us, whatever ends us."""
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)  # its buffer is full when the runner stands still
        with theirs:
            self._child = subprocess.Popen(
                command_line({"control": theirs.fileno(), "log_format": self._log_format}),
                executable="/proc/self/exe",  # this Python, even where the worker's user may not open its path
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )


_runner = _Runner(None)


def _connect_to(path: Path) -> socket.socket:
    """Connect to the runner at a path.

    Errors: OSError when nothing listens there, SandboxUnavailable when what listens there cannot be trusted
    """
    found = path.stat()
    if not modes.S_ISSOCK(found.st_mode) or found.st_mode & modes.S_IWOTH:
        raise SandboxUnavailable(
            f"{path}: expected the socket of `threadhouse runner` with no access for other users (mode 0660)"
        )
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(CONNECT_SECONDS)
        connection.connect(str(path))
        uid = peer_uid(connection)
        if uid != found.st_uid:
            raise SandboxUnavailable(f"{path}: belongs to uid {found.st_uid}, but uid {uid} listens there")
    except BaseException:
        connection.close()
        raise
    return connection


def peer_uid(connection: socket.socket) -> int:
    """Return the uid of the process at the other end, as the kernel reports it."""
    _, uid, _ = PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    return int(uid)
