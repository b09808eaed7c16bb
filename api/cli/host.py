"""What commands for operators share: the store of this host, tables for people, JSON for scripts."""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from shared import config as configuration
from shared.errors import ConfigError

if TYPE_CHECKING:
    from shared.store import Store

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

json_option = click.option("--json", "as_json", is_flag=True, help="One object a line; times in Unix milliseconds.")


@contextmanager
def host_store() -> Iterator[Store]:
    """The store of this home, whose database is made when it is an embedded one. Errors: ConfigError."""
    from shared.store import Store
    from shared.store.connection import migrate, schema_is_current

    config = configuration.load(None, os.environ)
    embedded = config.database_url.startswith("sqlite:")
    if embedded:
        config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not schema_is_current(config.database_url):
        if not embedded:
            raise ConfigError("the database is not at this version's schema: run `threadhouse migrate` first")
        migrate(config.database_url)
    store = Store(config.database_url)
    try:
        yield store
    finally:
        store.close()


def show(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Rows as a table, or as lines of JSON. Keys that end in _ms are times."""
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


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("_ms"):
        return datetime.datetime.fromtimestamp(value / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return str(value)


def read_duration_ms(text: str) -> int:
    """`90d`, `12h`, `30m` or `45s`, in ms. Errors: click.BadParameter."""
    found = re.fullmatch(r"([1-9]\d{0,8})([smhd])", text)
    if found is None:
        raise click.BadParameter("expected a number and s, m, h or d, such as 90d")
    return int(found[1]) * UNIT_SECONDS[found[2]] * 1000


def duration(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """As a callback of an option."""
    return None if value is None else read_duration_ms(value)
