"""A tool runner: a process without credentials that runs commands and opens files for workers.

It knows no configuration, no database, no Redis and no key; all that a call needs comes with it. It serves one worker
that started it, over a socket that nobody else can reach, or those of a host, over a socket in the file system.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import stat as modes
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from shared.errors import ConfigError, ToolError
from workers.runner import hardening, host
from workers.runner.cgroups import Cgroups
from workers.runner.command import Command, bury_leftovers
from workers.runner.watchdog import Watchdog
from workers.sandbox import bubblewrap, files, runner
from workers.sandbox.channel import Channel
from workers.sandbox.event_thread import EventThread

BACKLOG = 1024
DRAIN_SECONDS = 10.0  # that commands get after SIGTERM: their workers are shut down meanwhile
GRACE_SECONDS = 2.0  # between TERM and KILL
MODULES = (bubblewrap, files, host)  # what they mark as done by the runner

logger = logging.getLogger(__name__)


class Stopped(Exception):
    """SIGTERM or SIGINT."""


class Server:
    """The connections of workers, each with a thread of its own until it becomes a command's."""

    def __init__(self, groups: Cgroups | None) -> None:
        self._groups = groups
        self._watchdog = Watchdog()
        self._commands = EventThread("commands")
        self._running: set[Command] = set()
        self._lock = threading.Condition()
        self._open = 0
        self._draining = False

    def serve(self, connection: socket.socket) -> None:
        """Answer, in a thread of its own."""
        threading.Thread(target=self._answer, args=[Channel(connection)], daemon=True).start()

    def drain(self, seconds: float) -> None:
        """Start no more commands; wait for those that run, then end them."""
        self._draining = True
        if not self._wait_until_idle(seconds):
            self._commands.call(self._stop_all)
            self._wait_until_idle(2 * GRACE_SECONDS)

    def _wait_until_idle(self, seconds: float) -> bool:
        with self._lock:
            return self._lock.wait_for(lambda: self._open == 0, seconds)

    def _stop_all(self) -> None:
        for command in self._running:
            command.stop("the shutdown of the tool runner", GRACE_SECONDS)

    def _answer(self, channel: Channel) -> None:
        try:
            while (received := channel.receive()) is not None:
                request = received[0]
                if request["do"] == "run":
                    self._run(channel, request["command"])
                    return
                channel.send(_done(request))
        except (OSError, ValueError):
            pass
        except Exception:
            logger.exception("a connection failed")
        channel.close()

    def _run(self, channel: Channel, request: dict[str, Any]) -> None:
        if self._draining:
            channel.send(runner.failure(ToolError("the tool runner shuts down; try again in a moment")))
            channel.close()
            return
        with self._lock:
            self._open += 1
        self._commands.call(lambda: self._start(channel, request))

    def _start(self, channel: Channel, request: dict[str, Any]) -> None:
        ended: list[bool] = []
        command: Command | None = None

        def end() -> None:
            ended.append(True)
            if command is not None:
                self._running.discard(command)
                self._watchdog.remove(command)
            with self._lock:
                self._open -= 1
                self._lock.notify_all()

        command = Command(self._commands, channel, request, end, self._groups)
        if not ended:
            self._running.add(command)
            self._watchdog.add(command)


def _done(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": runner.OPERATIONS[request["do"]](*request["args"], **request["kwargs"])}
    except Exception as error:
        answer = runner.failure(error)
        if answer["error"] == "Exception":
            logger.exception("%s failed", request["do"])
            return runner.failure(ToolError(f"{type(error).__name__} in the tool runner; its log says more"))
        return answer


def main() -> None:
    """arguments (JSON): {"control": descriptor}, or {"socket": path, "group": gid or null, "worker": uid}."""
    arguments = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO, format="%(levelname)s tool runner: %(message)s")
    runner.is_runner = True
    hardening.forbid_looking()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 65_536), hard))
    bury_leftovers()
    groups = Cgroups.delegated() if "socket" in arguments else None
    host.has_cgroups = groups is not None
    server = Server(groups)
    if "control" in arguments:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _unheard)  # it ends with its worker
        _serve_worker(server, socket.socket(fileno=arguments["control"]))
    else:
        try:
            _serve_host(server, Path(arguments["socket"]), arguments["group"], arguments["worker"])
        except (ConfigError, OSError) as error:
            sys.exit(f"threadhouse runner: {error}")


def _serve_worker(server: Server, control: socket.socket) -> None:
    """Until the worker is gone. Its connections are gone then, too, and with each its command."""
    while True:
        try:
            said, fds, _, _ = socket.recv_fds(control, 1, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            break
        if not said:
            break
        for fd in fds:
            server.serve(socket.socket(fileno=fd))
    server.drain(GRACE_SECONDS)


def _serve_host(server: Server, path: Path, group: int | None, worker: int) -> None:
    """Until SIGTERM. Errors: ConfigError, OSError."""
    listener = _listen(path, group)

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    logger.info("serving uid %d at %s as uid %d", worker, path, os.geteuid())
    try:
        while True:
            connection, _ = listener.accept()
            uid = runner.peer_uid(connection)
            if uid == worker:
                server.serve(connection)
            else:
                logger.warning("refused a connection of uid %d", uid)
                connection.close()
    except Stopped:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _unheard)
        path.unlink(missing_ok=True)
        listener.close()
        logger.info("stopping")
        server.drain(DRAIN_SECONDS)


def _unheard(number: int, frame: FrameType | None) -> None:
    """Not SIG_IGN, which commands would inherit."""


def _listen(path: Path, group: int | None) -> socket.socket:
    folder = path.parent.stat()
    if folder.st_mode & modes.S_IWOTH:
        raise ConfigError(f"{path.parent}: expected a folder that others cannot write to, for the socket")
    listener = socket.socket(socket.AF_UNIX)
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
        raise ConfigError(f"{path}: another runner serves there")
    except FileNotFoundError:
        pass
    except ConnectionRefusedError:
        path.unlink()
    before = os.umask(0o117)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    if group is not None:
        os.chown(path, -1, group)
    listener.listen(BACKLOG)
    return listener


if __name__ == "__main__":
    main()
