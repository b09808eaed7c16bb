"""What a runner knows of its host, for `threadhouse doctor`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from shared.errors import SandboxUnavailable, ThreadhouseError
from workers.sandbox import bubblewrap, runner
from workers.sandbox.runner import by_runner

has_cgroups = False  # whether this runner divides its own


@by_runner
def facts(workspaces: Path) -> dict[str, Any]:
    """{"uid", "kernel", "cgroups", "protects_git": bool, "sandbox", "workspaces": what is wrong there, or None}"""
    found: dict[str, Any] = {"uid": os.geteuid(), "kernel": os.uname().release, "cgroups": has_cgroups}
    found |= {"sandbox": None, "workspaces": None, "protects_git": False}
    try:
        bwrap = bubblewrap.find_bwrap()
        bubblewrap.check(bwrap)
        found["protects_git"] = bubblewrap.protects(bwrap)
    except SandboxUnavailable as error:
        found["sandbox"] = str(error)
    try:
        above = next(path for path in (workspaces, *workspaces.parents) if path.exists())
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        found["workspaces"] = f"{error.filename or workspaces}: {error.strerror}"
    return found


def tell() -> None:
    """A program for the doctor: the socket of a runner or "", the workspaces → facts, or {"error"}, as JSON."""
    runner.use(Path(sys.argv[1]) if sys.argv[1] else None)
    try:
        print(json.dumps(facts(Path(sys.argv[2]))))
    except ThreadhouseError as error:
        print(json.dumps({"error": str(error)}))
