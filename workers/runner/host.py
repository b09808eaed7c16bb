"""Facts about the host of a runner, for `threadhouse doctor`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TypedDict

from shared.errors import SandboxUnavailable, ThreadhouseError
from shared.protocol.sandbox_modes import READ_ONLY
from workers.sandbox import bubblewrap, runner, seccomp
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import run_to_end
from workers.sandbox.runner import by_runner

TRIED_LIMIT_BYTES = 16 << 20
TRIED_SECONDS = 40.0  # for a command over that limit to be ended, also on a busy host
TOO_MUCH = "head -c 64M /dev/zero | tail -c 64M | sleep 60"  # tail keeps what it cannot write

memory_is_unlimited: str | None = "this is no runner"  # why the kernel does not limit commands of this runner, or None


class HostFacts(TypedDict):
    """What the runner and its host are like.

    uid:         of the runner
    filter:      whether system calls are filtered
    cgroups:     why the kernel does not limit the memory of commands, or None
    sandbox:     why commands cannot be isolated, or None
    workspaces:  why workspaces cannot be written, or None
    """

    uid: int
    kernel: str
    machine: str
    filter: bool
    cgroups: str | None
    sandbox: str | None
    workspaces: str | None


@by_runner
def facts(workspaces: Path) -> HostFacts:
    """Return what the runner finds on its host. workspaces: the folder of all workspaces."""
    found: HostFacts = {
        "uid": os.geteuid(),
        "kernel": os.uname().release,
        "machine": os.uname().machine,
        "filter": seccomp.supports(os.uname().machine),
        "cgroups": memory_is_unlimited,
        "sandbox": None,
        "workspaces": None,
    }
    try:
        bwrap = bubblewrap.find_bwrap()
        bubblewrap.check(bwrap)
    except SandboxUnavailable as error:
        found["sandbox"] = str(error)
    try:
        above = next(path for path in (workspaces, *workspaces.parents) if path.exists())
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        found["workspaces"] = f"{error.filename or workspaces}: {error.strerror}"
    return found


@by_runner
def why_memory_is_unlimited() -> str | None:
    """Return why the kernel does not limit the memory of commands; None if it does."""
    return memory_is_unlimited


def exceed_memory_limit() -> str | None:
    """Run a command that takes four times its limit of memory. Return what ended it. Errors: ToolError."""
    process = run_to_end(
        CommandSpec(
            argv=["/bin/sh", "-c", TOO_MUCH],
            cwd=Path("/"),
            policy=SandboxPolicy(kind=READ_ONLY, cwd=Path("/")),
            limits=CommandLimits(total_memory_bytes=TRIED_LIMIT_BYTES, wall_seconds=TRIED_SECONDS),
        )
    )
    return process.stopped_by


def print_facts() -> None:
    """Print the facts, or {"error"}, as JSON. This is a program that the doctor runs.

    In addition it prints memory: what ended a command that takes more than its limit, or None.

    Arguments: the socket of a runner, or ""; the folder of all workspaces
    """
    runner.configure(Path(sys.argv[1]) if sys.argv[1] else None)
    try:
        found = facts(Path(sys.argv[2]))
        ended_by = None if found["sandbox"] else exceed_memory_limit()
        print(json.dumps({**found, "memory": ended_by}))
    except ThreadhouseError as error:
        print(json.dumps({"error": str(error)}))
