"""threadhouse runner: runs commands and opens workspaces for the workers of this host."""

from __future__ import annotations

import grp
import importlib
import os
import pwd
import sys
from collections.abc import Callable
from pathlib import Path

import click

from shared.errors import ConfigError

ROOT = "as root, a command that breaks out of its sandbox owns this host"


@click.command()
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    default=Path("/run/threadhouse/runner.sock"),
    show_default=True,
    help="Where to listen; the workers' `[server] tool_runner`.",
)
@click.option("--worker", metavar="USER", help="Name or id of the user that workers run as [default: this one].")
@click.option("--group", metavar="GROUP", help="Group of the socket, one of this user's that the worker is in, too.")
@click.option("--dangerously-as-root", is_flag=True, help=f"Run even as root: {ROOT}.")
def runner(path: Path, worker: str | None, group: str | None, dangerously_as_root: bool) -> None:
    """Run commands and open workspaces for this host's workers, as a user that holds no keys.

    It reads no configuration, and of its environment keeps PATH and HOME only.
    """
    if os.geteuid() == 0 and not dangerously_as_root:
        raise ConfigError(f"{ROOT}: start the runner as a user of its own, e.g. `setpriv --reuid=threadhouse-runner …`")
    path = Path(os.path.abspath(path))
    uid = os.geteuid() if worker is None else _id(worker, lambda name: pwd.getpwnam(name).pw_uid, "user")
    gid = None if group is None else _id(group, lambda name: grp.getgrnam(name).gr_gid, "group")
    known = importlib.import_module("workers.sandbox.runner")  # named, not imported: as in worker.py
    sys.stdout.flush()
    # In a process image of its own, so that not even its memory holds what the environment of this one had.
    words = known.command_line({"socket": str(path), "worker": uid, "group": gid})
    os.execve("/proc/self/exe", words, known.environment())


def _id(name: str, look: Callable[[str], int], kind: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return look(name)
    except KeyError:
        raise ConfigError(f"no {kind} {name!r} on this host: make one, or give its number") from None
