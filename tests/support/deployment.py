"""The real thing on this machine: Redis, a database, API and worker processes, a scripted model; each can be killed.

Every process has its own log file, is known by its pid, and ends with the process of the tests.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import redis

from api.cli import child, embedded_redis
from api.cli.client import Client
from shared.config import Config, embedded_redis_url, load
from shared.store import Store
from shared.store.connection import migrate
from tests.support.model_server import ModelServer
from tests.support.protocol_client import ProtocolClient, connect
from tests.support.wait import until

DATABASES = ("sqlite", "postgres")
POSTGRES = os.environ.get("THREADHOUSE_TEST_POSTGRES") or "postgresql://postgres@127.0.0.1:5432/postgres"
READY_SECONDS = 60.0
LOG_TAIL_BYTES = 6_000
SHORT: dict[str, float] = {
    "lease_seconds": 2,
    "renewal_seconds": 0.5,
    "sweep_seconds": 0.5,
}  # of [server], so that recovery is quick
PORTS = range(20_000, 32_000)  # below those that the kernel gives to outgoing connections


class Process:
    """One process that can be ended in every way and started again. Its output goes to `log`, run after run."""

    def __init__(self, name: str, log: Path, environ: dict[str, str], *argv: str) -> None:
        self.name = name
        self.log = log
        self.argv = argv
        self.environ = environ
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        guarded = [sys.executable, "-IS", child.__file__, str(os.getpid()), *self.argv]
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                guarded,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environ,
                start_new_session=True,
                cwd="/",
            )

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """As subprocess has it; None while it runs or when it was never started."""
        return self._popen.poll() if self._popen else None

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def signal(self, number: int) -> None:
        if self.is_running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self, seconds: float = 15) -> int:
        """SIGTERM; its exit code. Errors: subprocess.TimeoutExpired."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def wait(self, seconds: float = 15) -> int:
        assert self._popen is not None
        return self._popen.wait(seconds)

    def is_paused(self) -> bool:
        """Whether a SIGSTOP has reached it."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except OSError:
            return False

    def wait_until(self, ready: Callable[[], object], seconds: float = READY_SECONDS) -> None:
        """Wait for something that it has to do; fails at once, with its log, when it ends instead."""

        def look() -> object:
            assert self.is_running, f"{self.name} ended with {self.exit_code}:\n{self.log_tail()}"
            return ready()

        until(look, seconds=seconds)

    def says(self, text: str) -> bool:
        """Whether its log has this text."""
        return text.encode() in self.log.read_bytes()

    def log_tail(self, start: int = 0) -> str:
        """The end of its log, from a place in bytes on."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[start:][-LOG_TAIL_BYTES:].decode(errors="replace")


class Deployment:
    """api API processes and that many workers; use as a context.

    database:  "sqlite" or "postgres"
    server:    more keys of [server] in config.toml; settings: more keys at its top; auth: those of [auth]
    queues:    what workers serve, if not what they serve by default
    environ:   more of what the processes are started with
    """

    def __init__(
        self,
        home: Path,
        database: str = "sqlite",
        *,
        api: int = 1,
        workers: int = 1,
        server: dict[str, object] | None = None,
        settings: dict[str, object] | None = None,
        auth: dict[str, object] | None = None,
        queues: str | None = None,
        environ: dict[str, str] | None = None,
    ) -> None:
        self.home = home
        self._queues = ("--queues", queues) if queues else ()
        self.model = ModelServer()
        self._postgres = database_of_its_own() if database == "postgres" else None
        self.database_url = self._postgres or f"sqlite:///{home / 'threadhouse.sqlite3'}"
        self._write_config({"dangerously_run_as_root": True} | SHORT | (server or {}), settings or {}, auth or {})
        self.environ = {
            **clean_environ(),
            "THREADHOUSE_HOME": str(home),
            "THREADHOUSE_DATABASE_URL": self.database_url,
            **(environ or {}),
        }
        self.redis_process = Process("redis", home / "redis.log", self.environ, *embedded_redis.command(home))
        self.ports = [free_port() for _ in range(api)]
        self.api = [
            self._threadhouse(f"api-{number}", "web", "--port", str(port)) for number, port in enumerate(self.ports)
        ]
        self._others: list[Process] = []
        self.workers: list[Process] = []
        for _ in range(workers):
            self.workers.append(self._make_worker())
        self._clients: list[ProtocolClient] = []

    def _threadhouse(self, name: str, *arguments: str) -> Process:
        command = (sys.executable, "-P", "-m", "api.cli", *arguments)
        return Process(name, self.home / f"{name}.log", dict(self.environ), *command)

    def _write_config(self, server: dict[str, object], settings: dict[str, object], auth: dict[str, object]) -> None:
        top = {"model": "mock-model", "model_provider": "mock", "approval_policy": "never", **settings}
        lines = [f"{key} = {_toml(value)}" for key, value in top.items()]
        lines += ["[model_providers.mock]", f"base_url = {_toml(self.model.base_url)}", "[server]"]
        lines += [f"{key} = {_toml(value)}" for key, value in server.items()]
        lines += ["[auth]", *(f"{key} = {_toml(value)}" for key, value in auth.items())] if auth else []
        (self.home / "config.toml").write_text("\n".join(lines) + "\n")

    def __enter__(self) -> Deployment:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        self.model.__enter__()
        migrate(self.database_url)
        self.store = Store(self.database_url)
        self.start_all()

    def start_all(self) -> None:
        """Start every process, and wait until all serve."""
        self.redis_process.start()
        self.wait_for_redis()
        for process in self.api:
            process.start()
        for worker in self.workers:
            self._start_worker(worker)
        for process, url in zip(self.api, self.urls, strict=True):
            process.wait_until(Client(url).is_ready)
        for worker in self.workers:
            self._wait_for_worker(worker)

    def close(self) -> None:
        """End everything; nothing here needs to end well."""
        for client in self._clients:
            client.drop()
        self.kill_all()
        if hasattr(self, "store"):
            self.store.close()
        if self._postgres:
            drop_database(self._postgres)
        self.model.__exit__()

    def kill_all(self) -> None:
        """kill -9 of every process at once, and wait until all are gone."""
        for process in self.processes:
            process.signal(signal.SIGKILL)
        for process in self.processes:
            if process.is_running:
                process.wait()

    @property
    def config(self) -> Config:
        return load(self.home, self.environ)

    @property
    def processes(self) -> list[Process]:
        return [*self.api, *self.workers, *self._others, self.redis_process]

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    # -- Redis

    @property
    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(embedded_redis_url(self.home))

    def wait_for_redis(self) -> None:
        self.redis_process.wait_until(lambda: embedded_redis.answers(self.home))

    def restart_redis(self, *, emptied: bool) -> None:
        """kill -9, and start it again: with what it had written to its file, or with nothing."""
        self.redis_process.kill()
        if emptied:
            self.empty_redis()
        self.redis_process.start()
        self.wait_for_redis()

    def empty_redis(self) -> None:
        """Remove what it had written to its file, while it is down."""
        shutil.rmtree(self.home / "redis")
        (self.home / "redis").mkdir(mode=0o700)

    # -- workers

    def start_worker(self, worker: Process) -> None:
        """Start one again and wait until it serves."""
        self._start_worker(worker)
        self._wait_for_worker(worker)

    def add_worker(self, *, fault: str | None = None) -> Process:
        """One more worker, serving. fault: its THREADHOUSE_FAULT, whenever it is started."""
        worker = self._make_worker(fault)
        self.workers.append(worker)
        self.start_worker(worker)
        return worker

    def add_beat(self) -> Process:
        """A beat, started."""
        beat = self._threadhouse("beat", "beat")
        self._others.append(beat)
        beat.start()
        return beat

    def _make_worker(self, fault: str | None = None) -> Process:
        name = f"worker-{len(self.workers)}"
        ready = ("--ready-file", str(self.home / f"{name}.ready"))
        worker = self._threadhouse(name, "worker", *self._queues, *ready)
        worker.environ |= {"THREADHOUSE_FAULT": fault} if fault else {}
        return worker

    def _start_worker(self, worker: Process) -> None:
        _ready_file(worker).unlink(missing_ok=True)
        worker.start()

    def _wait_for_worker(self, worker: Process) -> None:
        worker.wait_until(_ready_file(worker).exists)

    # -- clients

    def connect(self, node: int = 0, *, token: str | None = None, **capabilities: Any) -> ProtocolClient:
        """A client on that API process, initialized."""
        client = connect(self.urls[node].replace("http", "ws", 1) + "/", token)
        self._clients.append(client)
        client.initialize(**capabilities)
        return client

    def http(self, node: int = 0, *, token: str | None = None) -> Client:
        return Client(self.urls[node], token)

    def add_user(self, name: str, role: str = "member") -> tuple[str, str]:
        """A user with a key: (id, key)."""
        user = self.store.users.add(name, role)
        return user.id, self.store.users.create_key(name, "laptop")


class Up:
    """`threadhouse up` as one tree of processes."""

    def __init__(self, deployment_home: Path, model: ModelServer) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        deployment_home.mkdir(parents=True, exist_ok=True)
        server = "\n".join(f"{key} = {_toml(value)}" for key, value in SHORT.items())
        (deployment_home / "config.toml").write_text(
            f'model = "mock-model"\nmodel_provider = "mock"\napproval_policy = "never"\n'
            f'[model_providers.mock]\nbase_url = "{model.base_url}"\n[server]\n{server}\n'
        )
        command = (
            sys.executable,
            "-P",
            "-m",
            "api.cli",
            "up",
            "--home",
            str(deployment_home),
            "--port",
            str(self.port),
        )
        self.process = Process("up", deployment_home / "up.log", clean_environ(), *command)

    def start(self) -> None:
        written = self.process.log.stat().st_size if self.process.log.exists() else 0
        self.process.start()
        self.process.wait_until(lambda: f"serving {self.url}" in self.process.log_tail(written))

    def tree(self) -> list[int]:
        """The pids of the supervisor and of all its descendants."""
        pids = [self.process.pid]
        for pid in pids:  # grows as it goes
            for file in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    pids += map(int, file.read_text().split())
                except OSError:
                    continue
        return pids

    def kill_tree(self) -> None:
        """kill -9 of every process at once."""
        pids = self.tree()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def clean_environ() -> dict[str, str]:
    """What a server is started with: nothing of ours, no keys, no proxies."""
    unwanted = ("THREADHOUSE_", "OPENAI_")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(unwanted) and not name.lower().endswith("_proxy")
    }


def free_port() -> int:
    """A port of the loopback device that nobody listens on."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def shown_when_it_fails(deployment: Deployment) -> Iterator[None]:
    """Print what the processes logged meanwhile; pytest shows it beside a failure only."""
    before = {one.log: one.log.stat().st_size if one.log.exists() else 0 for one in deployment.processes}
    try:
        yield
    finally:
        for one in deployment.processes:
            print(f"--- {one.name} (exit code {one.exit_code})\n{one.log_tail(before.get(one.log, 0))}")


# -- Postgres


def require(database: str) -> None:
    """Skip what needs a Postgres where none answers; in CI that is a failure."""
    if database != "postgres":
        return
    try:
        psycopg.connect(POSTGRES, connect_timeout=3).close()
    except psycopg.OperationalError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Postgres at {POSTGRES} (THREADHOUSE_TEST_POSTGRES): {error}")


def database_of_its_own() -> str:
    """Make an empty database. Returns its URL."""
    name = f"threadhouse_{uuid4().hex[:12]}"
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return urlsplit(POSTGRES)._replace(path=f"/{name}", scheme="postgresql+psycopg").geturl()


def drop_database(url: str) -> None:
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{urlsplit(url).path[1:]}" WITH (FORCE)'.encode())


def _ready_file(worker: Process) -> Path:
    return Path(worker.argv[-1])


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {_toml(inner)}' for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
