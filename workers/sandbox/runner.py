"""The tool runner, as its workers know it: how it is reached, and what is carried out there.

Commands of strangers and everything done in their folders happen in a process without credentials, in a deployment as
a user of its own: what breaks out of a sandbox does not land beside the keys. Where no socket of such a runner is
configured, the worker starts one for itself, which ends with it; all else is the same.

A connection carries one call after the other, or one command, which ends with the connection.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import stat as modes
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from shared.errors import SandboxUnavailable, ToolError
from workers.sandbox.channel import Channel

CONNECT_SECONDS = 5.0  # a runner that is being started again answers within that time
AGAIN_SECONDS = 0.1
ANSWER_SECONDS = 300.0  # the longest that is done there is to delete or copy a large folder
MAX_IDLE = 16  # connections that are kept
PEER = struct.Struct("3i")  # pid, uid, gid
BY_WORKER = "its worker"  # why a command was ended that its worker told to stop
ERRORS = {error.__name__: error for error in (ToolError, SandboxUnavailable)}
BOOT = "import sys, json; sys.path[:] = json.loads(sys.argv.pop()); from workers.runner.server import main; main()"

P = ParamSpec("P")
T = TypeVar("T")

OPERATIONS: dict[str, Callable[..., Any]] = {}  # what a runner does when it is asked to, by name
is_runner = False  # whether this process is one


def by_runner(function: Callable[P, T]) -> Callable[P, T]:
    """Have a function done by the runner, with the same arguments, result and errors; also SandboxUnavailable."""
    OPERATIONS[function.__name__] = function

    @functools.wraps(function)
    def ask(*args: P.args, **kwargs: P.kwargs) -> T:
        if is_runner:
            return function(*args, **kwargs)
        answer: T = _runner.ask(function.__name__, args, kwargs)
        return answer

    return ask


def connect() -> Channel:
    """A connection of one's own. Errors: SandboxUnavailable."""
    return _runner.connect()


def use(path: Path | None) -> None:
    """Which runner: the one that listens at a path, or one of our own. To be called before all else."""
    global _runner
    _runner = _Runner(path)


def command_line(arguments: dict[str, Any]) -> list[str]:
    """A runner's argv. It gets the way to the code by this, as its environment is empty. arguments: of server.main."""
    path = json.dumps([str(Path(__file__).parents[2]), *sys.path])
    return [sys.executable, "-IS", "-c", BOOT, json.dumps(arguments), path]


def environment() -> dict[str, str]:
    """All that a runner has of the environment of who starts it: where programs are found."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def failure(error: Exception) -> dict[str, Any]:
    """An error as it travels."""
    if isinstance(error, OSError) and error.errno is not None:
        name = error.filename if isinstance(error.filename, str) else None
        return {"error": "OSError", "arguments": [error.errno, error.strerror, name]}
    kind = type(error).__name__
    return {"error": kind if kind in ERRORS else "Exception", "arguments": [str(error)]}


def raise_failure(answer: dict[str, Any]) -> None:
    """Raise what an answer says went wrong there, if anything."""
    if "error" not in answer:
        return
    arguments = answer["arguments"]
    if answer["error"] == "OSError":
        raise OSError(*arguments)
    raise ERRORS.get(answer["error"], ToolError)(*map(str, arguments))


class _Runner:
    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[Channel] = []
        self._child: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def ask(self, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        channel = self._take() or self.connect()
        try:
            channel.send({"do": name, "args": list(args), "kwargs": kwargs})
            received = channel.receive()
            if received is None:
                raise ConnectionResetError
        except (OSError, ValueError) as error:
            channel.close()
            raise SandboxUnavailable(
                "the tool runner was lost; whether this was done is unknown. If it stays away, see the runner's log"
            ) from error
        self._give_back(channel)
        raise_failure(received[0])
        return received[0]["result"]

    def connect(self) -> Channel:
        until_s = time.monotonic() + CONNECT_SECONDS
        while True:
            try:
                connection = self._connected_to_ours() if self._path is None else _connected(self._path)
                connection.settimeout(ANSWER_SECONDS)
                return Channel(connection)
            except OSError as error:
                if time.monotonic() > until_s:
                    where = (
                        f"at {self._path}: {error.strerror or error}; start" if self._path else f"({error}); see why"
                    )
                    raise SandboxUnavailable(
                        f"the tool runner does not answer {where} `threadhouse runner`, or run `threadhouse doctor`"
                    ) from error
            time.sleep(AGAIN_SECONDS)

    def _take(self) -> Channel | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                channel = self._idle.pop()
            if channel.is_fresh():
                return channel
            channel.close()

    def _give_back(self, channel: Channel) -> None:
        with self._lock:
            if len(self._idle) < MAX_IDLE:
                self._idle.append(channel)
                return
        channel.close()

    def _connected_to_ours(self) -> socket.socket:
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
        """It ends when its end of the control socket does: with us, whatever ends us."""
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                command_line({"control": theirs.fileno()}),
                executable="/proc/self/exe",  # this Python, even where a worker's user could not find it again
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )


_runner = _Runner(None)


def _connected(path: Path) -> socket.socket:
    """Errors: OSError, for nobody there; SandboxUnavailable, for somebody who cannot be trusted."""
    found = path.stat()
    if not modes.S_ISSOCK(found.st_mode) or found.st_mode & modes.S_IWOTH:
        raise SandboxUnavailable(f"{path}: expected the socket of `threadhouse runner`, closed to others (mode 0660)")
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
    """Whose process is at the other end, as the kernel knows it."""
    _, uid, _ = PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    return int(uid)
