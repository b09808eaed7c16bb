"""A tool runner: a process without credentials that runs commands and opens files for workers.

It has no configuration, database, Redis or key; everything that a request needs comes with the request. It serves
either the one worker that started it, over a socket that no other process can reach, or all workers of a host, over a
socket in the file system.
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
from typing import cast

from shared.errors import ConfigError, ToolError
from shared.logs.fields import format_handlers, line_formatter
from workers.runner import hardening, host, repositories, watcher
from workers.runner.cgroups import Cgroups, NotDelegated
from workers.runner.command import Command
from workers.runner.processes import kill_orphaned_sandboxes
from workers.runner.repositories import Found
from workers.runner.watchdog import Watchdog
from workers.sandbox import bubblewrap, files, runner, skill_folders, thread_paths
from workers.sandbox.channel import Channel
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.event_thread import EventThread
from workers.sandbox.messages import HEARTBEAT, Failure, OperationRequest, OperationResult, RunRequest
from workers.sandbox.runner import RunnerArguments

BACKLOG = 1024
DRAIN_SECONDS = 10.0  # for commands to end after SIGTERM; their workers shut down in that time
GRACE_SECONDS = 2.0  # between TERM and KILL
# Imported so that they add their functions to runner.OPERATIONS.
MODULES = (bubblewrap, files, host, skill_folders, thread_paths)

logger = logging.getLogger(__name__)


class Stopped(Exception):
    """The runner received SIGTERM or SIGINT."""


class Server:
    """The connections of workers. Each has a thread of its own until it is used for a command."""

    def __init__(self, groups: Cgroups | None) -> None:
        self._groups = groups
        self._watchdog = Watchdog()
        self._commands = EventThread("commands")
        self._running: set[Command] = set()
        self._lock = threading.Condition()
        self._open = 0  # commands that are starting or running
        self._draining = False

    def serve(self, connection: socket.socket) -> None:
        """Answer a connection in a thread of its own."""
        _wait_without_limit(connection)
        threading.Thread(target=self._answer, args=[Channel(connection)], daemon=True).start()

    def drain(self, seconds: float) -> None:
        """Start no more commands; wait so long for those that run, then end them."""
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
                    asked = cast(RunRequest, request)
                    spec = CommandSpec.from_message(
                        asked["command"], asked.get("private_tmp"), asked.get("visible", ())
                    )
                    self._run(channel, spec)
                    return
                if request["do"] == HEARTBEAT:
                    self._wait_for_commands_thread()
                    channel.send(OperationResult(result=None))
                else:
                    channel.send(_execute(cast(OperationRequest, request)))
        except (OSError, ValueError):
            pass
        except Exception:
            logger.exception("connection of a worker failed")
        channel.close()

    def _wait_for_commands_thread(self) -> None:
        answered = threading.Event()
        self._commands.call(answered.set)
        answered.wait()

    def _run(self, channel: Channel, spec: CommandSpec) -> None:
        if self._draining:
            channel.send(runner.encode_error(ToolError("the tool runner is shutting down; try again in a moment")))
            channel.close()
            return
        found = repositories.find(spec.policy) if repositories.is_watched(spec.policy) else None
        with self._lock:
            self._open += 1
        self._commands.call(lambda: self._start(channel, spec, found))

    def _start(self, channel: Channel, spec: CommandSpec, found: Found | None) -> None:
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

        command = Command(self._commands, channel, spec, found, end, self._groups)
        if not ended:
            self._running.add(command)
            self._watchdog.add(command)


def _execute(request: OperationRequest) -> OperationResult | Failure:
    try:
        return {"result": runner.OPERATIONS[request["do"]](*request["args"], **request["kwargs"])}
    except Exception as error:
        answer = runner.encode_error(error)
        if answer["error"] == "Exception":
            logger.exception("operation failed: %s", request["do"])
            return runner.encode_error(ToolError(f"{type(error).__name__} in the tool runner; see the runner's log"))
        return answer


def main() -> None:
    """Serve until the worker is gone, or until SIGTERM. The only argument is RunnerArguments as JSON."""
    arguments: RunnerArguments = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO)
    format_handlers(logging.getLogger(), line_formatter(arguments.get("log_format", "text"), "runner"))
    if "watched" in arguments:
        watcher.watch(socket.socket(fileno=arguments["watched"]))
        return
    runner.is_runner = True
    hardening.disable_inspection()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 65_536), hard))
    kill_orphaned_sandboxes()
    server = Server(_delegated_groups())
    if "control" in arguments:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _ignore)  # the runner ends with its worker
        _serve_worker(server, socket.socket(fileno=arguments["control"]))
    else:
        try:
            _serve_host(server, Path(arguments["socket"]), arguments["group"], arguments["worker"])
        except (ConfigError, OSError) as error:
            sys.exit(f"threadhouse runner: {error}")


def _delegated_groups() -> Cgroups | None:
    try:
        groups = Cgroups.delegated()
    except NotDelegated as reason:
        host.memory_is_unlimited = str(reason)
        return None
    host.memory_is_unlimited = None
    return groups


def _serve_worker(server: Server, control: socket.socket) -> None:
    """Serve until the worker is gone. Its connections are closed then, too, and with each of them its command ends."""
    _wait_without_limit(control)
    while True:
        try:
            data, fds, _, _ = socket.recv_fds(control, 1, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            break
        if not data:
            break
        for fd in fds:
            server.serve(socket.socket(fileno=fd))
    server.drain(GRACE_SECONDS)


def _wait_without_limit(received: socket.socket) -> None:
    """Let reads wait. A worker makes its sockets so that they don't while a library has set a default timeout there.

    kombu does (5.7, Connection.collect) when Redis is lost, for all threads.
    """
    received.setblocking(True)


def _serve_host(server: Server, path: Path, group: int | None, worker: int) -> None:
    """Serve all workers of a host until SIGTERM. Errors: ConfigError, OSError."""
    listener = _listen(path, group)

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    threading.Thread(target=watcher.keep, args=[server.serve], name="watcher", daemon=True).start()
    logger.info("listening at %s as uid %d, for workers of uid %d", path, os.geteuid(), worker)
    try:
        while True:
            connection, _ = listener.accept()
            uid = runner.peer_uid(connection)
            if uid == worker:
                server.serve(connection)
            else:
                logger.warning("connection refused: uid %d is not the workers' uid", uid)
                connection.close()
    except Stopped:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _ignore)
        path.unlink(missing_ok=True)
        listener.close()
        logger.info("tool runner stopping")
        server.drain(DRAIN_SECONDS)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing. This is a handler rather than SIG_IGN, because commands would inherit SIG_IGN."""


def _listen(path: Path, group: int | None) -> socket.socket:
    """Open the socket with mode 0660. Errors: ConfigError, OSError."""
    folder = path.parent.stat()
    if folder.st_mode & modes.S_IWOTH:
        raise ConfigError(
            f"{path.parent}: the folder of the socket must not be writable by other users: run `chmod o-w`"
        )
    listener = socket.socket(socket.AF_UNIX)
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
        raise ConfigError(f"{path}: another runner listens there: stop it, or choose another socket")
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
