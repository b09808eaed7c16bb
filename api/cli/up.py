"""threadhouse up: a whole server from one command, under one supervisor."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import click

from api.cli import embedded_redis, first_turn
from api.cli.client import Client
from api.cli.options import certfile_option, check_tls, home_option, keyfile_option
from api.cli.supervisor import POLL_SECONDS, Stopped, Supervisor, say
from shared import config as configuration
from shared.config import SCRIPTED, Config
from shared.errors import ConfigError

STOP_ORDER = ("migrate", "api", "worker", "beat", "redis")
EVERY_QUEUE = "turns,calls,feedback,background"
DRAIN_SECONDS = 12.0  # workers hand their turns over within 10 s
STOP_SECONDS = 5.0  # everything else
TELL_SECONDS = 10.0  # what tells a collector what it still holds
START_SECONDS = 60.0  # until a process is ready, on a slow or busy machine
MIGRATE_SECONDS = 600.0  # a step may rewrite a big table
LEFTOVER_SECONDS = 2.0  # for the processes of a supervisor that was killed a moment ago to be gone


@click.command()
@home_option
@click.option("--host", help="Address to listen on ([server] host, default 127.0.0.1).")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on ([server] port, default 8765).")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=min(2, os.cpu_count() or 1),
    show_default="one per core, at most 2",
    help="Worker processes.",
)
@certfile_option
@keyfile_option
@click.option("--first-turn", "wants_first_turn", is_flag=True, help="Run one turn as soon as everything is ready.")
def up(
    host: str | None,
    port: int | None,
    workers: int,
    certfile: str | None,
    keyfile: str | None,
    wants_first_turn: bool,
) -> None:
    """Start and supervise everything: Redis, database, API, workers, beat."""
    config = configuration.load(None, os.environ)
    address = (host or config.server.host, port or config.server.port)
    tls = check_tls(certfile, keyfile)
    config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    embedded_redis.private_folder(config.home / "run")
    embedded_redis.private_folder(config.home / "logs")
    with _lock(config.home):
        _check_address(*address)
        os.environ["THREADHOUSE_HOME"] = str(config.home)
        os.environ["THREADHOUSE_REDIS_URL"] = config.redis_url
        os.environ["THREADHOUSE_DATABASE_URL"] = config.database_url
        try:
            with Supervisor(config.home / "logs", STOP_ORDER, say) as supervisor:
                _start(supervisor, config, address, workers, tls)
                turn = FirstTurn(_url(*address, tls)) if wants_first_turn else None
                supervisor.supervise(until=lambda: turn is not None and turn.error is not None)
                say("stopping")
        except Stopped:
            return
        if turn is not None and turn.error is not None:
            raise turn.error


def _start(supervisor: Supervisor, config: Config, address: tuple[str, int], workers: int, tls: dict[str, str]) -> None:
    """Everything, in order, until it serves."""
    say(f"threadhouse {version('threadhouse')}, home {config.home}")
    for warning in config.warnings:
        say(f"  warning   {warning}")
    if config.redis_is_embedded:
        _check_no_redis_serves(config.home)
        redis = supervisor.start("redis", embedded_redis.command(config.home), stop_seconds=STOP_SECONDS)
        supervisor.wait_until_ready(redis, lambda: embedded_redis.answers(config.home), seconds=START_SECONDS)
        say(f"  redis     embedded, pid {redis.pid}, {config.home / 'redis'}")
    else:
        say("  redis     THREADHOUSE_REDIS_URL")
    supervisor.run_once("migrate", _command("migrate"), seconds=MIGRATE_SECONDS)
    say(f"  database  {config.database_url.partition(':')[0]}, schema up to date")

    host, port = address
    listen = [
        "--host",
        host,
        "--port",
        str(port),
        *(word for name, file in tls.items() for word in (f"--{name}", file)),
    ]
    api = supervisor.start("api", _command("web", *listen), stop_seconds=TELL_SECONDS)
    url = _url(host, port, tls)
    ready_files = [config.home / "run" / f"worker-{number}.ready" for number in range(1, workers + 1)]
    for file in ready_files:
        file.unlink(missing_ok=True)
    hands = [
        supervisor.start(
            file.stem,
            _command("worker", "--queues", EVERY_QUEUE, "--ready-file", str(file)),
            stop_seconds=DRAIN_SECONDS,
        )
        for file in ready_files
    ]
    beat = supervisor.start("beat", _command("beat"), stop_seconds=TELL_SECONDS)
    supervisor.wait_until_ready(api, Client(url, trusted=False).is_ready, seconds=START_SECONDS)
    say(f"  api       pid {api.pid}")
    for hand, file in zip(hands, ready_files, strict=True):
        supervisor.wait_until_ready(hand, file.exists, seconds=START_SECONDS)
        say(f"  {hand.name:<9} pid {hand.pid}")
    say(f"  beat      pid {beat.pid}")
    say(_how_to_connect(config, url))


def _how_to_connect(config: Config, url: str) -> str:
    json_header = "-H 'Content-Type: application/json'"
    model = f"{config.model} from {config.model_provider}"
    if config.model_provider == SCRIPTED:
        model = (
            "the built-in script, which is no language model; set OPENAI_API_KEY or [model_providers] in config.toml"
        )
    return f"""\
  model     {model}
  logs      {config.home / "logs"}

serving {url} (Ctrl-C stops it)
{_how_to_prove_oneself(config)}
  codex -s workspace-write --remote {url.replace("http", "ws", 1)}

  THREAD=$(curl -s {json_header} -d '{{}}' {url}/v2/thread/start | grep -o '"id":"[^"]*' | head -1 | cut -d'"' -f4)
  curl -N {json_header} -H 'Accept: text/event-stream' {url}/v2/turn/start \\
    -d '{{"threadId": "'$THREAD'", "input": [{{"type": "text", "text": "$ ls"}}]}}'
"""


def _how_to_prove_oneself(config: Config) -> str:
    """What requests need beside the lines below, once there are users."""
    from shared.store import Store

    store = Store(config.database_url)
    try:
        if config.auth is None and not store.users.exist():
            return ""
    finally:
        store.close()
    return """
  every request needs a key (threadhouse keys create NAME):
    curl -H "Authorization: Bearer $THREADHOUSE_TOKEN" …   codex --remote-auth-token-env THREADHOUSE_TOKEN …
"""


class FirstTurn:
    """Runs beside the supervision, so that Ctrl-C and a dying child are still noticed.

    error:  why it failed, as soon as it has
    """

    def __init__(self, url: str) -> None:
        self.error: Exception | None = None
        self._url = url
        threading.Thread(target=self._run, name="first-turn", daemon=True).start()

    def _run(self) -> None:
        try:
            first_turn.run(Client(self._url), lambda text: say(text, end=""))
            say(f"\nthe first turn completed; serving {self._url} (Ctrl-C stops it)")
        except Exception as error:  # noqa: BLE001  # a thread's edge: the main thread raises it
            self.error = error


@contextmanager
def _lock(home: Path) -> Iterator[None]:
    """Hold the home for this supervisor; the kernel lets go when it ends, however it ends."""
    with (home / "run" / "up.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(f"{home} is served already, by pid {file.read().strip()}: stop that one first") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _check_address(host: str, port: int) -> None:
    """ConfigError when nobody could listen there."""
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while True:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen(1)
                return
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"port {port} of {host} is in use: stop what listens there, or choose another with --port"
                ) from None
        time.sleep(POLL_SECONDS)


def _check_no_redis_serves(home: Path) -> None:
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while embedded_redis.answers(home):
        if time.monotonic() > deadline:
            raise ConfigError(f"{embedded_redis.socket_path(home)}: another Redis serves this home")
        time.sleep(POLL_SECONDS)


def _command(*arguments: str) -> list[str]:
    """`threadhouse ARGUMENTS`; -P: never from the current folder, which is somebody's project."""
    return [sys.executable, "-P", "-m", "api.cli", *arguments]


def _url(host: str, port: int, tls: dict[str, str]) -> str:
    """Where this machine reaches a server that listens there."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "https" if tls else "http"
    return f"{scheme}://[{reachable}]:{port}" if ":" in reachable else f"{scheme}://{reachable}:{port}"
