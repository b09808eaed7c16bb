"""A real deployment on this machine: Redis, a database, API and worker processes, and a scripted model.

Each process can be killed, has its own log file, and ends with the process of the tests.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import redis

from api.cli import child, embedded_redis
from api.cli.client import Client
from shared.config import Config, embedded_redis_url, load
from shared.store import Store
from shared.store.migrations import migrate
from tests.support import postgres, processes
from tests.support.fault_proxy import FaultProxy
from tests.support.model_server import ModelServer
from tests.support.protocol_client import ProtocolClient, connect
from tests.support.releases import Release
from tests.support.wait import until

DATABASES = ("sqlite", "postgres")
READY_SECONDS = 60.0
LOG_TAIL_BYTES = 6_000
LOCK_SECONDS = 2.0  # for which a worker that is not paused holds the write lock at most, on a busy machine
SHORT: dict[str, float] = {
    "lease_seconds": 2,
    "renewal_seconds": 0.5,
    "sweep_seconds": 0.5,
    "worker_niceness": 0,  # other tests run on the same cores
}  # keys of [server] that make recovery quick
# The same where no worker dies: with a short lease a machine that pauses for a moment looks like a worker that died.
STEADY: dict[str, object] = {"lease_seconds": 30}
# The same where a worker dies: the others find that out after some seconds, and a pause of the machine is no death.
PATIENT: dict[str, object] = {"lease_seconds": 6}
EXIT_SECONDS = 60.0  # for the end of a process, on a busy machine
PORTS = range(20_000, 32_000)  # below the range that the kernel uses for outgoing connections
_reservations: list[socket.socket] = []  # of the ports that this process was given


class Process:
    """A process that can be stopped, killed, paused and started again. All its runs append their output to `log`."""

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
        """The exit code as in `subprocess`; None while the process runs or when it was never started."""
        return self._popen.poll() if self._popen else None

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def signal(self, number: int) -> None:
        if self.is_running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL and wait until the process has ended."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self, seconds: float = EXIT_SECONDS) -> int:
        """Send SIGTERM. Return the exit code. Errors: subprocess.TimeoutExpired."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def pause(self) -> None:
        processes.pause(self.pid)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def wait(self, seconds: float = EXIT_SECONDS) -> int:
        assert self._popen is not None
        return self._popen.wait(seconds)

    def is_paused(self) -> bool:
        """Return whether a SIGSTOP has taken effect."""
        return processes.is_paused(self.pid)

    def wait_until(self, ready: Callable[[], object], seconds: float = READY_SECONDS) -> None:
        """Wait until the condition holds. Errors: AssertionError with the log, as soon as the process ends."""

        def is_ready() -> object:
            assert self.is_running, f"{self.name} ended with {self.exit_code}:\n{self.log_tail()}"
            return ready()

        until(is_ready, seconds=seconds)

    def has_logged(self, text: str) -> bool:
        """Return whether its log contains the text."""
        return text.encode() in self.log.read_bytes()

    def log_tail(self, start: int = 0) -> str:
        """Return the last LOG_TAIL_BYTES of its log, from the byte offset `start` on."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[start:][-LOG_TAIL_BYTES:].decode(errors="replace")


class Deployment:
    """A server with a number of API processes and workers; a context manager.

    database:  "sqlite", "postgres", or the URL of an empty database
    api:       number of API processes; workers: number of workers
    server:    more keys of [server] in config.toml; settings: more keys at its top; auth: keys of [auth]
    queues:    the queues that workers serve, if not the default ones
    environ:   more environment variables of the processes
    release:   the earlier release that all of these processes run, and whose schema the database has
    model_url: base URL of a server of models to use in place of the scripted one
    proxied:   whether the processes reach Postgres and Redis through proxies, `database_proxy` and `redis_proxy`
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
        release: Release | None = None,
        proxied: bool = False,
        model_url: str | None = None,
    ) -> None:
        self.home = home
        self._release = release
        self._queues = ("--queues", queues) if queues else ()
        self.model = ModelServer()
        self._model_url = model_url or self.model.base_url
        create_database = postgres.create_empty_database if release else postgres.create_database
        self._postgres = create_database() if database == "postgres" else None
        given = database if "://" in database else f"sqlite:///{home / 'threadhouse.sqlite3'}"
        self.database_url = self._postgres or given
        self._write_config({"dangerously_run_as_root": True} | SHORT | (server or {}), settings or {}, auth or {})
        self.environ = {
            **clean_environ(),
            "THREADHOUSE_HOME": str(home),
            "THREADHOUSE_DATABASE_URL": self.database_url,
            **(environ or {}),
        }
        self.database_proxy = FaultProxy(postgres.server_address()) if proxied and self._postgres else None
        self.redis_proxy = FaultProxy(embedded_redis.socket_path(home)) if proxied else None
        if self.database_proxy is not None:
            proxied_url = postgres.through_port(self.database_url, self.database_proxy.port)
            self.environ["THREADHOUSE_DATABASE_URL"] = proxied_url
        if self.redis_proxy is not None:
            self.environ["THREADHOUSE_REDIS_URL"] = f"redis://127.0.0.1:{self.redis_proxy.port}/0"
        self.redis_process = Process("redis", home / "redis.log", self.environ, *embedded_redis.command(home))
        self.ports: list[int] = []
        self.api: list[Process] = []
        for _ in range(api):
            self._make_api(release)
        self._others: list[Process] = []
        self.workers: list[Process] = []
        for _ in range(workers):
            self._make_worker(release)
        self._clients: list[ProtocolClient] = []

    def _threadhouse(self, name: str, *arguments: str, release: Release | None = None) -> Process:
        environ = self.environ | ({"PYTHONPATH": str(release.tree)} if release else {})
        command = (release.python if release else sys.executable, "-P", "-m", "api.cli", *arguments)
        return Process(name, self.home / f"{name}.log", environ, *command)

    def _write_config(self, server: dict[str, object], settings: dict[str, object], auth: dict[str, object]) -> None:
        top = {"model": "mock-model", "model_provider": "mock", "approval_policy": "never", **settings}
        lines = [f"{key} = {_toml(value)}" for key, value in top.items()]
        lines += ["[model_providers.mock]", f"base_url = {_toml(self._model_url)}", "[server]"]
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
        self.migrate(self._release)
        self.store = Store(self.database_url)
        self.start_all()

    def migrate(self, release: Release | None = None) -> None:
        """Migrate the database to the schema of that release, or of this version."""
        if release is None:
            migrate(self.database_url)
            return
        migration = self._threadhouse("migrate", "migrate", release=release)
        migration.start()
        assert migration.wait(READY_SECONDS) == 0, migration.log_tail()

    def start_all(self) -> None:
        """Start every process and wait until all of them are ready."""
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
        """Drop all clients, kill all processes and remove the database. Nothing shuts down gracefully."""
        for client in self._clients:
            client.drop()
        self.kill_all()
        for proxy in (self.database_proxy, self.redis_proxy):
            if proxy is not None:
                proxy.close()
        if hasattr(self, "store"):
            self.store.close()
        if self._postgres:
            postgres.drop_database(self._postgres)
        self.model.__exit__()

    def kill_all(self) -> None:
        """Send SIGKILL to every process at once and wait until all have ended."""
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
        """Kill Redis and start it again, with the contents of its file, or empty."""
        self.redis_process.kill()
        if emptied:
            self.empty_redis()
        self.redis_process.start()
        self.wait_for_redis()

    def empty_redis(self) -> None:
        """Remove the files of Redis. It must not run."""
        shutil.rmtree(self.home / "redis")
        (self.home / "redis").mkdir(mode=0o700)

    # -- API processes

    def add_api(self, release: Release | None = None) -> int:
        """Add an API process, start it and wait until it is ready. Return its node, for `connect`."""
        process = self._make_api(release)
        process.start()
        process.wait_until(Client(self.urls[-1]).is_ready)
        return len(self.api) - 1

    def _make_api(self, release: Release | None) -> Process:
        self.ports.append(free_port())
        process = self._threadhouse(f"api-{len(self.api)}", "web", "--port", str(self.ports[-1]), release=release)
        self.api.append(process)
        return process

    # -- workers

    def start_worker(self, worker: Process) -> None:
        """Start a worker and wait until it is ready."""
        self._start_worker(worker)
        self._wait_for_worker(worker)

    def add_worker(
        self, *, fault: str | None = None, release: Release | None = None, queues: str | None = None
    ) -> Process:
        """Add a worker, and start it.

        fault:  the value of THREADHOUSE_FAULT in each of its runs
        queues: that it serves, if not those of the other workers
        """
        worker = self._make_worker(release, fault, queues)
        self.start_worker(worker)
        return worker

    def pause_worker(self, worker: Process) -> None:
        """Pause a worker at a moment at which it does not hold SQLite's write lock, which all others need."""
        worker.pause()
        while not self.is_writable():
            worker.resume()
            worker.pause()

    def is_writable(self) -> bool:
        """Return whether SQLite's write lock is free: a worker that was paused in a transaction holds it."""
        if not self.store.database.is_sqlite:
            return True
        file = self.home / "threadhouse.sqlite3"
        with closing(sqlite3.connect(file, LOCK_SECONDS, isolation_level=None)) as tried:
            try:
                tried.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            tried.rollback()
        return True

    def add_beat(self) -> Process:
        """Add a scheduler, and start it."""
        return self.add_process("beat")

    def add_process(self, command: str, *arguments: str) -> Process:
        """Add a process that is neither API nor worker, and start it. command: of `threadhouse`"""
        process = self._threadhouse(f"{command}-{len(self._others)}", command, *arguments)
        self._others.append(process)
        process.start()
        return process

    def _make_worker(self, release: Release | None, fault: str | None = None, queues: str | None = None) -> Process:
        name = f"worker-{len(self.workers)}"
        ready = ("--ready-file", str(self.home / f"{name}.ready"))
        served = ("--queues", queues) if queues else self._queues
        worker = self._threadhouse(name, "worker", *served, *ready, release=release)
        worker.environ |= {"THREADHOUSE_FAULT": fault} if fault else {}
        self.workers.append(worker)
        return worker

    def _start_worker(self, worker: Process) -> None:
        _ready_file(worker).unlink(missing_ok=True)
        worker.start()

    def _wait_for_worker(self, worker: Process) -> None:
        worker.wait_until(_ready_file(worker).exists)

    # -- clients

    def connect(self, node: int = 0, *, token: str | None = None, **capabilities: Any) -> ProtocolClient:
        """Return an initialized client that is connected to that API process."""
        client = connect(self.urls[node].replace("http", "ws", 1) + "/", token)
        self._clients.append(client)
        client.initialize(**capabilities)
        return client

    def http(self, node: int = 0, *, token: str | None = None) -> Client:
        return Client(self.urls[node], token)

    def add_user(self, name: str, role: str = "member") -> tuple[str, str]:
        """Create a user with an API key. Return (user id, key)."""
        user = self.store.users.add(name, role)
        return user.id, self.store.users.create_key(name, "laptop")


class Up:
    """`threadhouse up` with its tree of processes. server: more keys of [server]"""

    def __init__(self, deployment_home: Path, model: ModelServer, **server: object) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        deployment_home.mkdir(parents=True, exist_ok=True)
        keys = "\n".join(f"{key} = {_toml(value)}" for key, value in {**SHORT, **server}.items())
        (deployment_home / "config.toml").write_text(
            f'model = "mock-model"\nmodel_provider = "mock"\napproval_policy = "never"\n'
            f'[model_providers.mock]\nbase_url = "{model.base_url}"\n[server]\n{keys}\n'
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
        serving = f"serving {self.url}".encode()
        self.process.wait_until(lambda: serving in self.process.log.read_bytes()[written:])

    def tree(self) -> list[int]:
        """Return the pids of the supervisor and of all its descendants."""
        pids = [self.process.pid]
        for pid in pids:  # the loop appends to the list that it reads
            for file in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    pids += map(int, file.read_text().split())
                except OSError:
                    continue
        return pids

    def kill_tree(self) -> None:
        """Send SIGKILL to every process at once and wait until all have ended."""
        pids = self.tree()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def clean_environ() -> dict[str, str]:
    """Return the environment of a server: without settings of Threadhouse, API keys and proxies.

    PYTHONDONTWRITEBYTECODE is removed as well: with it each process would compile all modules again.
    """
    unwanted = ("THREADHOUSE_", "OPENAI_", "PYTHONDONTWRITEBYTECODE")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(unwanted) and not name.lower().endswith("_proxy")
    }


def free_port() -> int:
    """Return a port of the loopback device that is not in use, and that no other process of tests gets.

    Its server binds it later, and again after each restart. Until the end of this process an abstract socket with the
    number in its name tells other processes that the port is taken.
    """
    while True:
        port = random.choice(PORTS)
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0threadhouse-tests-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        _reservations.append(reservation)
        return port


@contextmanager
def logs_shown_on_failure(deployment: Deployment) -> Iterator[None]:
    """Print what the processes log during the block. pytest shows it only when the test fails."""
    sizes = {each.log: each.log.stat().st_size if each.log.exists() else 0 for each in deployment.processes}
    try:
        yield
    finally:
        for process in deployment.processes:
            print(f"--- {process.name} (exit code {process.exit_code})\n{process.log_tail(sizes.get(process.log, 0))}")


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
