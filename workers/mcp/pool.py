"""Which MCP sessions a worker process has: started when a thread's turn needs them, kept while it may need them again.

A session belongs to one thread, as in the original: two threads, and so two users, never share a server's state, and a
question of a server belongs to the thread whose call it interrupts. It is ended when its configuration or the thread's
sandbox changes, when it was not used for a while, when there are too many, and with the worker.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.config import Config
from shared.config.client_mcp_servers import McpTables, UserMcp, effective_servers, merge_layers
from shared.config.mcp_servers import McpServer
from shared.ids import new_id
from shared.store.users import LOCAL_USER
from workers.mcp import CLOSED, FAILED, READY
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy

if TYPE_CHECKING:
    import httpx2

    from workers.mcp.session import McpSession, Transport

PROGRAM_SECONDS = 7 * 86_400.0  # that a program may run, and of processor time; ordinary commands get less
OUTPUT_BYTES = 1 << 16  # of a program's errors that are kept
SWEEP_SECONDS = 5.0  # between looks for sessions that were not used
CLOSE_SECONDS = 10.0  # for all sessions to end with the worker
NO_FOLDER = "/nonexistent"
NO_THREAD = "no-thread-"  # in place of a thread's id: sessions that belong to none
STARTUP_STATUS = "mcpServer/startupStatus/updated"

Key = tuple[str, str, str]  # owner, thread id, name of the server
Publish = Callable[[str, str, Mapping[str, object]], None]
MakeAuth = Callable[[str, "McpServer"], "httpx2.Auth | None"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the programs of a thread's servers run.

    limits: of the thread's commands
    """

    cwd: Path
    policy: SandboxPolicy
    limits: CommandLimits


class McpPool:
    """The sessions of this process. Nothing is started, and the SDK not imported, before the first `ensure`."""

    def __init__(self, config: Config, publish: Publish, make_auth: MakeAuth) -> None:
        """Start nothing.

        publish:   (thread id, owner, params) publishes mcpServer/startupStatus/updated; from any thread
        make_auth: (owner, server with an address) returns what puts the token of the owner's login into requests
        """
        self.operator_servers: Mapping[str, McpServer] = config.mcp_servers
        self._config = config
        self._publish = publish
        self._make_auth = make_auth
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sessions: dict[Key, McpSession] = {}
        self._digests: dict[Key, str] = {}
        self._generations: Counter[str] = Counter()
        self._checked: dict[Key, int] = {}
        self._in_turns: Counter[tuple[str, str]] = Counter()
        self._closing: dict[McpSession, str] = {}  # with its owner
        self._statuses = ThreadPoolExecutor(1, "mcp-status")
        self._draining = False

    def enter_turn(self, owner: str, thread_id: str) -> None:
        """Keep the sessions of a thread until `leave_turn`, even if they are not used."""
        with self._lock:
            self._in_turns[owner, thread_id] += 1

    def leave_turn(self, owner: str, thread_id: str) -> None:
        with self._lock:
            self._in_turns[owner, thread_id] -= 1
            if not self._in_turns[owner, thread_id]:
                del self._in_turns[owner, thread_id]
            for key, session in self._sessions.items():
                if key[:2] == (owner, thread_id):
                    session.used_at = time.monotonic()
            if self._draining and (owner, thread_id) not in self._in_turns:
                self._close([key for key in self._keys() if key[:2] == (owner, thread_id)])

    def generation(self, owner: str) -> int:
        """Return a number that grows with each `reload` of the owner's servers."""
        return self._generations[owner]

    def reload(self, owner: str) -> None:
        """Have the servers of an owner checked again when a turn needs them next: failed ones are started again."""
        with self._lock:
            self._generations[owner] += 1

    def servers_of(self, owner: str, own: McpTables, brought: McpTables) -> dict[str, McpServer]:
        """Return the servers of a user's thread by name, sorted.

        own:     tables of the user's configuration
        brought: tables that the thread's client brought
        """
        hosted = owner != LOCAL_USER
        policy, environ = UserMcp.of(self._config.server, hosted=hosted), None if hosted else os.environ
        return effective_servers(self.operator_servers, merge_layers(own, brought), policy, environ)[0]

    def ensure(
        self, owner: str, thread_id: str, servers: Mapping[str, McpServer], place: Place, *, restarts: bool = False
    ) -> dict[str, McpSession]:
        """Return the sessions of a thread's servers by name, started if need be; waits for none of them.

        servers:  those that the thread uses now; sessions with others are ended once no call runs
        restarts: start those again that have ended by themselves
        """
        self._start_loop()
        found: dict[str, McpSession] = {}
        with self._lock:
            generation = self._generations[owner]
            self._close([key for key in self._sessions if key[:2] == (owner, thread_id) and key[2] not in servers])
            for name, server in servers.items():
                key, digest = (owner, thread_id, name), _digest(server, place)
                session, is_checked = self._sessions.get(key), self._checked.get(key) == generation
                is_over = session is not None and session.state in (FAILED, CLOSED) and (restarts or not is_checked)
                if session is None or is_over or self._digests[key] != digest:
                    session = self._start(key, server, digest, place)
                elif not is_checked and session.state == READY:
                    self._publish_state(key, session)
                session.server = server  # filters may have changed
                session.used_at = time.monotonic()
                self._checked[key] = generation
                found[name] = session
        return found

    @contextmanager
    def opened_once(
        self, owner: str, servers: Mapping[str, McpServer], place: Place
    ) -> Iterator[Mapping[str, McpSession]]:
        """Yield sessions that belong to no thread, and end them with the block."""
        nobody = f"{NO_THREAD}{new_id()}"
        opened: Mapping[str, McpSession] = {}
        self.enter_turn(owner, nobody)
        try:
            opened = self.ensure(owner, nobody, servers, place)
            yield opened
        finally:
            self.leave_turn(owner, nobody)
            self.ensure(owner, nobody, {}, place)
            _wait_closed(opened.values(), CLOSE_SECONDS)

    def count(self) -> int:
        """Return how many sessions there are."""
        return len(self._sessions)

    def drain(self) -> None:
        """End the sessions that no turn uses; the others end with their turns."""
        with self._lock:
            self._draining = True
            self._close([key for key in self._keys() if key[:2] not in self._in_turns])

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """End all sessions and wait for their ends."""
        self._close(self._keys())
        _wait_closed(list(self._closing), seconds)

    # -- parts of these

    def _keys(self) -> list[Key]:
        with self._lock:
            return list(self._sessions)

    def _start(self, key: Key, server: McpServer, digest: str, place: Place) -> McpSession:
        """Start a session in place of an earlier one. The lock is held."""
        from workers.mcp.session import McpSession, no_room

        assert self._loop is not None
        self._close([key])
        auth = self._make_auth(key[0], server) if server.url is not None else None
        transport = _transport(server, place, auth) if self._make_room(key[0]) else no_room
        session = McpSession(server, transport, self._loop, partial(self._publish_state, key))
        self._sessions[key], self._digests[key] = session, digest
        return session

    def _publish_state(self, key: Key, session: McpSession) -> None:
        """Publish how a session stands now, in the order of these calls, without waiting for Redis."""
        owner, thread_id, name = key
        error = session.error and session.error.shown
        status = _status(name, session.state, error, needs_login=session.needs_login)

        def publish() -> None:
            if self._sessions.get(key) is session or key not in self._sessions:
                self._publish(thread_id, owner, status)

        if not thread_id.startswith(NO_THREAD):
            self._statuses.submit(publish)

    def _make_room(self, owner: str) -> bool:
        """End the session that was not used for the longest time, if there are too many. False: all are in use."""
        server = self._config.server
        for own, most in ((owner, server.mcp_servers_per_user), (None, server.mcp_servers_per_worker)):
            keys = [key for key in self._keys() if own in (None, key[0])]
            if len(keys) >= most:
                idle = self._idle(keys)
                self._close(idle[: len(keys) - most + 1])
                if len(keys) - len(idle) >= most:
                    return False
            if sum(own in (None, one) for one in list(self._closing.values())) > most:
                return False  # those that are slow to end count as well
        return True

    def _idle(self, keys: list[Key], before: float = float("inf")) -> list[Key]:
        """Return those of several sessions that nothing uses, oldest first. before: when they were last used."""
        with self._lock:
            idle = [
                (session.used_at, key)
                for key in keys
                if key[:2] not in self._in_turns
                and (session := self._sessions.get(key)) is not None
                and not session.active
                and session.used_at < before
            ]
        return [key for _, key in sorted(idle)]

    def _close(self, keys: list[Key]) -> None:
        for key in keys:
            with self._lock:
                session = self._sessions.pop(key, None)
                self._digests.pop(key, None)
                self._checked.pop(key, None)
            if session is not None:
                self._closing[session] = key[0]
                session.close(partial(self._closing.pop, session, None))

    def _start_loop(self) -> None:
        with self._lock:
            if self._loop is not None:
                return
            self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="mcp", daemon=True).start()
        threading.Thread(target=self._sweep, name="mcp-idle", daemon=True).start()

    def _sweep(self) -> None:
        """End the sessions that were not used for a while."""
        pause, idle_seconds = threading.Event(), self._config.server.mcp_idle_seconds
        while not pause.wait(min(SWEEP_SECONDS, idle_seconds / 2)):
            with self._lock:  # no turn enters in between
                self._close(self._idle(self._keys(), before=time.monotonic() - idle_seconds))


def _wait_closed(sessions: Iterable[McpSession], seconds: float) -> None:
    """Wait for the ends of sessions, for this time in all."""
    until = time.monotonic() + seconds
    for session in sessions:
        session.wait_closed(max(0.0, until - time.monotonic()))


def _status(name: str, status: str, error: str | None, *, needs_login: bool = False) -> dict[str, object]:
    reason = "reauthenticationRequired" if needs_login else None
    return {"name": name, "environmentId": None, "status": status, "error": error, "failureReason": reason}


def _digest(server: McpServer, place: Place) -> str:
    """Return what a session's process or connection depends on, as a text."""
    connection: list[Any] = [server.url, sorted(server.headers.items()), server.allow_private]
    program: list[Any] = [server.command, server.args, sorted(server.variables.items()), server.cwd]
    place_of_program = place if server.url is None else None
    return hashlib.sha256(repr((connection, program, place_of_program)).encode()).hexdigest()


def _transport(server: McpServer, place: Place, auth: httpx2.Auth | None) -> Transport:
    from workers.mcp.guarded_http import http_server
    from workers.mcp.sandboxed_program import program

    if server.url is not None:
        return partial(http_server, server, auth)
    assert server.command is not None
    limits = replace(
        place.limits, cpu_seconds=round(PROGRAM_SECONDS), wall_seconds=PROGRAM_SECONDS, output_bytes=OUTPUT_BYTES
    )
    variables, cwd = server.variables, server.cwd or ""
    if variables and place.policy.readable_roots is not None:
        # What a thread's commands can write must not be run with what the server is given, which may be a secret: of a
        # user with a key that is the thread's folder, and HOME. The table may say otherwise.
        variables, cwd = {"HOME": NO_FOLDER, **variables}, server.cwd or "/"
    spec = CommandSpec(
        argv=[server.command, *server.args],
        cwd=place.cwd / cwd,
        policy=place.policy,
        limits=limits,
        has_input=True,
        separate_stderr=True,
        env=variables,
    )
    return partial(program, spec)
