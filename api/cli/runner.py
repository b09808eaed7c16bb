"""threadhouse runner: the tool runner, which runs commands and opens workspaces for the workers of this host."""

from __future__ import annotations

import grp
import importlib
import os
import pwd
import sys
from collections.abc import Callable
from pathlib import Path

import click

from api.cli.options import log_format_option
from shared.config.server import LOG_FORMAT_VARIABLE
from shared.errors import ConfigError

ROOT_RISK = "as root, a command that escapes its sandbox controls this host"


@click.command()
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    default=Path("/run/threadhouse/runner.sock"),
    show_default=True,
    help="Socket to listen on, as in `[server] tool_runner` of the workers.",
)
@click.option("--worker", metavar="USER", help="Name or id of the user that workers run as (default: this user).")
@click.option(
    "--group",
    metavar="GROUP",
    help="Group of the socket, with this user and the workers' user in it (default: this user's).",
)
@log_format_option
@click.option("--dangerously-as-root", is_flag=True, help=f"Start although the user is root: {ROOT_RISK}.")
def runner(path: Path, worker: str | None, group: str | None, dangerously_as_root: bool) -> None:
    """Run commands and open workspaces for the workers of this host.

    Start it as a user that has no credentials. It reads no configuration, and keeps only PATH and HOME of its
    environment.
    """
    if os.geteuid() == 0 and not dangerously_as_root:
        raise ConfigError(f"{ROOT_RISK}: start the runner as another user, e.g. `setpriv --reuid=threadhouse-runner …`")
    path, log_format = Path(os.path.abspath(path)), os.environ.get(LOG_FORMAT_VARIABLE, "text")
    uid = os.geteuid() if worker is None else _id(worker, lambda name: pwd.getpwnam(name).pw_uid, "user")
    gid = None if group is None else _id(group, lambda name: grp.getgrnam(name).gr_gid, "group")
    known = importlib.import_module("workers.sandbox.runner")  # loaded by name, as in worker.py
    sys.stdout.flush()
    # exec replaces the process image, so that the memory of the runner has no trace of this environment.
    words = known.command_line({"socket": str(path), "worker": uid, "group": gid, "log_format": log_format})
    os.execve("/proc/self/exe", words, known.environment())


def _id(name: str, look_up: Callable[[str], int], kind: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return look_up(name)
    except KeyError:
        raise ConfigError(f"no {kind} {name!r} on this host: create it, or give a number") from None
