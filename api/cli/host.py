"""What several commands share: the store, tables for people, JSON for scripts, durations, addresses."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from shared import config as configuration
from shared.config import Config
from shared.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    import redis

    from shared.store import Store

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

REDIS_SECONDS = 3.0  # for which a command waits for Redis
SCHEMA_OUT_OF_DATE = "the schema is out of date: run `threadhouse migrate`"

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line, with times in Unix milliseconds."
)


@contextmanager
def host_store() -> Iterator[Store]:
    """Open the store of this deployment; an embedded (SQLite) database is created or migrated first.

    Errors: Unavailable (the database does not answer), ConfigError (a Postgres database has another schema; the default
            home is empty)
    """
    from sqlalchemy.exc import InterfaceError, OperationalError

    from shared.store import Store
    from shared.store.migrations import migrate, schema_is_current

    config = configuration.load(None, os.environ)
    embedded = config.database_url.startswith("sqlite:")
    if embedded:
        if not database_exists(config) and "THREADHOUSE_HOME" not in os.environ:
            raise ConfigError(
                f"no server has its home at {config.home}: name the server's home with --home DIR, "
                "or create a home there with `threadhouse migrate`"
            )
        config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        if not schema_is_current(config.database_url):
            if not embedded:
                raise ConfigError(SCHEMA_OUT_OF_DATE)
            migrate(config.database_url)
        store = Store(config.database_url, config.listeners, workspaces_dir=config.server.workspaces_dir)
        try:
            yield store
        finally:
            store.close()
    except (OperationalError, InterfaceError) as error:
        raise Unavailable(f"the database does not answer: {outage_reason(error)}") from error


def connect_redis(config: Config) -> redis.Redis:
    """Return a client of this deployment's Redis, which waits for REDIS_SECONDS at most; a context manager."""
    from shared import redis_clients

    bounds = {"socket_connect_timeout": REDIS_SECONDS, "socket_timeout": REDIS_SECONDS}
    return redis_clients.connect(config.redis_url, **bounds)


def user_names(store: Store) -> dict[str, str]:
    """Return user id → name."""
    return {account.user.id: account.user.name for account in store.users.accounts()}


def outage_reason(error: Exception) -> str:
    """Return the first line of what a database's driver says: whether it was refused, silent or without a password."""
    return (str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def private_files() -> Iterator[None]:
    """Let files that are created meanwhile be readable for this user only; a decorator, too."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def database_exists(config: Config) -> bool:
    """Return whether there is a database: a SQLite file is made when it is first opened."""
    from sqlalchemy.engine import make_url

    url = make_url(config.database_url)
    return url.get_backend_name() != "sqlite" or os.path.exists(url.database or "")


def database_name(config: Config) -> str:
    """Return the database's URL as people may see it: without a password and without options."""
    from sqlalchemy.engine import make_url

    return make_url(config.database_url).set(query={}).render_as_string(hide_password=True)


def show(rows: Sequence[Mapping[str, object]], as_json: bool) -> None:
    """Print rows as a table, or as lines of JSON. A key that ends in _ms holds a time in Unix milliseconds."""
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    if not rows:
        return
    table = [[name.removesuffix("_ms").removesuffix("_at").replace("_", " ") for name in rows[0]]]
    table += [[_cell(name, value) for name, value in row.items()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(name: str, value: object) -> str:
    if value is None:
        return "-"
    return format_time(value) if name.endswith("_ms") and isinstance(value, int) else str(value)


def format_time(at_ms: int) -> str:
    """Return Unix milliseconds as a time in UTC, to the second."""
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def read_duration_ms(text: str) -> int:
    """Return a duration such as `90d`, `12h`, `30m` or `45s` in milliseconds. Errors: click.BadParameter."""
    found = re.fullmatch(r"([1-9]\d{0,8})([smhd])", text)
    if found is None:
        raise click.BadParameter("expected a number and d, h, m or s, such as 90d")
    return int(found[1]) * UNIT_SECONDS[found[2]] * 1000


def duration(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """Convert the value of an option to milliseconds; a click callback."""
    return None if value is None else read_duration_ms(value)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that listens on this address or host name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
