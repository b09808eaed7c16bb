"""The command line: `threadhouse COMMAND`, and what only it needs.

Owns: argument parsing, the output of commands, the process supervisor, the embedded Redis, the HTTP client and the
stdio bridge. It is the composition root above `api` and `workers`: its commands start both, but none imports `workers`
(`web`, `worker`, `runner` and `beat` load their process by name). A command's module is loaded when the command is
called or listed in the help, and it imports slow libraries inside its function.
"""

from __future__ import annotations

import importlib
import keyword
import sys

import click

from api.cli import output
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
    "workers": "api.cli.workers",
    "turns": "api.cli.turns",
    "turn": "api.cli.turns",
    "queue": "api.cli.queue",
    "top": "api.cli.top",
    "usage": "api.cli.usage",
    "users": "api.cli.users",
    "keys": "api.cli.keys",
    "webhooks": "api.cli.webhooks",
    "audit": "api.cli.audit",
    "erasures": "api.cli.erasures",
    "login": "api.cli.login.commands",
    "logout": "api.cli.login.commands",
    "token": "api.cli.login.commands",
    "exec": "api.cli.exec",
    "app-server": "api.cli.app_server",
    "mcp": "api.cli.mcp.commands",
    "mcp-server": "api.cli.mcp_server.command",
    "feedback": "api.cli.feedback",
    "export": "api.cli.threads",
    "import": "api.cli.threads",
    "backup": "api.cli.backup.commands",
    "restore": "api.cli.backup.commands",
}


class _Commands(click.Group):
    """The commands of the table above; the command `up` is the object `up` of its module.

    In the object's name `-` is `_`, and a keyword of Python has an underscore appended (`import_`).
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
@click.option("-c", "--config", multiple=True, expose_value=False, hidden=True)  # SDKs that spawn `codex` pass it
def commands() -> None:
    """Run and operate a self-hosted server for coding-agent threads (Codex app-server protocol)."""


def main() -> None:
    """Run the `threadhouse` command; an error of our own is printed as one line, with exit code 1."""
    output.open_standard_streams()
    try:
        commands(prog_name="threadhouse")
    except ThreadhouseError as error:
        click.echo(f"threadhouse: {error}", err=True)
        sys.exit(1)
