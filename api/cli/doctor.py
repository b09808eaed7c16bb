"""threadhouse doctor: what this host and deployment lack, and what to do about it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

import click

from api.cli import embedded_redis
from api.cli.options import home_option
from shared import config as configuration
from shared.config import Config
from shared.errors import ConfigError, ThreadhouseError, Unavailable

CHECK_SECONDS = 30
CONNECT_SECONDS = 5


@click.command()
@home_option
def doctor() -> None:
    """Check configuration, Redis, database, sandbox and workspaces; exit code 1 when one of them fails."""
    config = configuration.load(None, os.environ)
    click.echo(f"ok      config: {config.home / 'config.toml'}, Python {sys.version.split()[0]}")
    for warning in config.warnings:
        click.echo(f"warning config: {warning}")
    failed = [check for check in (_redis, _database, _sandbox, _workspaces) if not _report(check, config)]
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


def _sandbox(_: Config) -> str:
    # A process of its own: the API side imports nothing of workers/.
    program = "from workers.sandbox.bubblewrap import check; check()"
    tried = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=CHECK_SECONDS, check=False
    )
    if tried.returncode != 0:
        raise Unavailable((tried.stderr.strip().splitlines() or ["it did not run"])[-1].partition(": ")[2])
    return "bubblewrap contains commands"


def _workspaces(config: Config) -> str:
    folder = config.server.workspaces_dir
    above = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=above):
            return f"{folder} is writable"
    except OSError as error:
        raise Unavailable(
            f"{above}: {error.strerror}: let this user write there, or set server.workspaces_dir"
        ) from error
