"""The command line: `threadhouse COMMAND`. A command's module is loaded when it is called or listed."""

from __future__ import annotations

import importlib
import keyword
import sys

import click

from api.cli.options import home_option
from shared.errors import ThreadhouseError

COMMANDS = {
    "up": "api.cli.up",
    "web": "api.cli.web",
    "worker": "api.cli.worker",
    "runner": "api.cli.runner",
    "beat": "api.cli.beat",
    "migrate": "api.cli.migrate",
    "doctor": "api.cli.doctor",
    "users": "api.cli.users",
    "keys": "api.cli.keys",
    "webhooks": "api.cli.webhooks",
    "audit": "api.cli.audit",
    "erasures": "api.cli.erasures",
    "exec": "api.cli.exec",
    "app-server": "api.cli.bridge",
    "feedback": "api.cli.feedback",
    "export": "api.cli.threads",
    "import": "api.cli.threads",
}


class _Commands(click.Group):
    """The table above as a click group; the command `up` is the object `up` of its module.

    A name that Python keeps for itself has an underscore behind it there, and `-` is `_`.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name]), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="threadhouse", prog_name="threadhouse", message="%(prog)s %(version)s")
@home_option
@click.option("-c", "--config", multiple=True, expose_value=False, hidden=True)  # SDKs that start us as codex say it
def commands() -> None:
    """A self-hosted server for coding-agent threads that speaks the Codex app-server protocol."""


def main() -> None:
    """Entry point of the `threadhouse` command; an error we raise on purpose is one line and exit code 1."""
    try:
        commands(prog_name="threadhouse")
    except ThreadhouseError as error:
        click.echo(f"threadhouse: {error}", err=True)
        sys.exit(1)
