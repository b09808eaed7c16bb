"""threadhouse up: start a whole server with one command and supervise its processes."""

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
from api.cli.options import DEFAULT_URL, certfile_option, check_tls, home_option, keyfile_option, log_format_option
from api.cli.supervisor import POLL_SECONDS, Stopped, Supervisor, say
from shared import config as configuration
from shared.config import SCRIPTED, SCRIPTED_WORDS, Config
from shared.errors import ConfigError

STOP_ORDER = ("migrate", "api", "worker", "redis")
EVERY_QUEUE = "turns,calls,feedback,background"
DRAIN_SECONDS = 12.0  # workers requeue their turns within 10 s
STOP_SECONDS = 5.0  # Redis
FLUSH_SECONDS = 10.0  # API, which sends its buffered telemetry to a collector
START_SECONDS = 60.0  # until a process is ready, on a slow or busy machine
MIGRATE_SECONDS = 600.0  # a step may rewrite a large table
LEFTOVER_SECONDS = 2.0  # how long the processes of a killed supervisor may take to end
AUTHENTICATE = """
  every request needs an API key:
    export THREADHOUSE_TOKEN=…   # what `threadhouse keys create NAME` prints
"""


@click.command()
@home_option
@log_format_option
@click.option("--host", help="Address to listen on (default: [server] host, else 127.0.0.1).")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on (default: [server] port, else 8765).")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=min(2, max(1, (os.cpu_count() or 1) // 2)),
    show_default="one for two cores, at most 2",
    help="Number of worker processes.",
)
@certfile_option
@keyfile_option
@click.option("--first-turn", "wants_first_turn", is_flag=True, help="Run one turn as soon as the server is ready.")
def up(
    host: str | None,
    port: int | None,
    workers: int,
    certfile: str | None,
    keyfile: str | None,
    wants_first_turn: bool,
) -> None:
    """Start a whole server and supervise it: Redis, database, API, workers, scheduler."""
    config = configuration.load(None, os.environ)
    address = (host or config.server.host, port or config.server.port)
    tls = check_tls(certfile, keyfile)
    config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    embedded_redis.private_folder(config.home / "run")
    embedded_redis.private_folder(config.home / "logs")
    with _lock(config.home):
        _require_free_address(*address)
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
    """Start all processes in order, and wait until each is ready."""
    say(f"threadhouse {version('threadhouse')}, home {config.home}")
    for warning in config.warnings:
        say(f"  warning   {warning}")
    if config.redis_is_embedded:
        _require_no_redis(config.home)
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
    api = supervisor.start("api", _command("web", *listen), stop_seconds=config.server.drain_seconds + FLUSH_SECONDS)
    url = _url(host, port, tls)
    ready_files = [config.home / "run" / f"worker-{number}.ready" for number in range(1, workers + 1)]
    for file in ready_files:
        file.unlink(missing_ok=True)
    worker_processes = [
        supervisor.start(
            file.stem,
            _command("worker", "--beat", "--queues", EVERY_QUEUE, "--ready-file", str(file)),
            stop_seconds=DRAIN_SECONDS,
        )
        for file in ready_files
    ]
    supervisor.wait_until_ready(api, Client(url, trusted=False).is_ready, seconds=START_SECONDS)
    say(f"  api       pid {api.pid}")
    for worker, file in zip(worker_processes, ready_files, strict=True):
        supervisor.wait_until_ready(worker, file.exists, seconds=START_SECONDS)
        say(f"  {worker.name:<9} pid {worker.pid}")
    say(_how_to_connect(config, url, needs_key=Client(url, trusted=False).needs_key()))


def _how_to_connect(config: Config, url: str, *, needs_key: bool) -> str:
    headers = "-H 'Content-Type: application/json'"
    model = f"{config.model} from {config.model_provider}"
    words = ""
    if config.model_provider == SCRIPTED:
        model = "a built-in script, not a language model: set OPENAI_API_KEY, or [model_providers] in config.toml"
        words = f"""
  what the script can show: `$ ls` runs a command; the word {", ".join(SCRIPTED_WORDS)} shows what it says
"""
    codex, where, authenticate = "codex -C .", "works in the current folder; without -C in a new one", ""
    if needs_key:
        codex, where, authenticate = "codex", "each thread works in a new folder", AUTHENTICATE
        codex += " --remote-auth-token-env THREADHOUSE_TOKEN"
        headers = f'-H "Authorization: Bearer $THREADHOUSE_TOKEN" {headers}'
    return f"""\
  model     {model}
  logs      {config.home / "logs"}
  folders   {config.server.workspaces_dir}/USER/THREAD, where a client names no other

serving {url} (Ctrl-C stops it)
{authenticate}
  open {url}/ in a browser: threads, approvals, and for admins the server itself
  {codex} -s workspace-write --remote {url.replace("http", "ws", 1)}   # {where}
  {_exec_command(url)} "what is in this folder?"
{words}
  THREAD=$(curl -s {headers} -d '{{}}' {url}/v2/thread/start | grep -o '"id":"[^"]*' | head -1 | cut -d'"' -f4)
  curl -N {headers} -H 'Accept: text/event-stream' {url}/v2/turn/start \\
    -d '{{"threadId": "'$THREAD'", "input": [{{"type": "text", "text": "$ ls"}}]}}'
"""


def _exec_command(url: str) -> str:
    """Return `threadhouse exec` for this server."""
    return "threadhouse exec" if url == DEFAULT_URL else f"THREADHOUSE_URL={url} threadhouse exec"


class FirstTurn:
    """The first turn, in a thread, so that the main thread still sees Ctrl-C and children that end.

    error:  why the turn failed; None until then
    """

    def __init__(self, url: str) -> None:
        self.error: Exception | None = None
        self._url = url
        threading.Thread(target=self._run, name="first-turn", daemon=True).start()

    def _run(self) -> None:
        try:
            first_turn.run(Client(self._url), lambda text: say(text, end=""))
            say(f"\nthe first turn completed; serving {self._url} (Ctrl-C stops it)")
        except Exception as error:  # noqa: BLE001  # the edge of a thread: the main thread raises it
            self.error = error


@contextmanager
def _lock(home: Path) -> Iterator[None]:
    """Lock the home for this supervisor; the kernel releases the lock whichever way the process ends."""
    with (home / "run" / "up.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(f"{home} is in use by pid {file.read().strip()}: stop that process first") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _require_free_address(host: str, port: int) -> None:
    """Check that this process could listen there. Errors: ConfigError."""
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
                    f"port {port} of {host} is in use: stop the process that listens there, or set another --port"
                ) from None
        time.sleep(POLL_SECONDS)


def _require_no_redis(home: Path) -> None:
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while embedded_redis.answers(home):
        if time.monotonic() > deadline:
            raise ConfigError(f"another Redis listens on {embedded_redis.socket_path(home)}: stop it first")
        time.sleep(POLL_SECONDS)


def _command(*arguments: str) -> list[str]:
    """Return the command line of `threadhouse ARGUMENTS`; -P: import nothing from the current folder."""
    return [sys.executable, "-P", "-m", "api.cli", *arguments]


def _url(host: str, port: int, tls: dict[str, str]) -> str:
    """Return the URL at which this machine reaches a server that listens there."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "https" if tls else "http"
    return f"{scheme}://[{reachable}]:{port}" if ":" in reachable else f"{scheme}://{reachable}:{port}"
