"""Options that several commands share."""

from __future__ import annotations

import os

import click


def _set_home(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        os.environ["THREADHOUSE_HOME"] = os.path.abspath(os.path.expanduser(value))


# It sets the variable instead of a parameter: `shared.config.load(None, os.environ)` and every child process see it.
home_option = click.option(
    "--home",
    metavar="DIR",
    expose_value=False,
    callback=_set_home,
    help="Folder of config.toml, database and logs (THREADHOUSE_HOME; default ~/.threadhouse).",
)
