"""The commands of deploy/README.md, for tests that run them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support import postgres
from tests.support.deployment import Deployment

PAGE = Path(__file__).parents[2] / "deploy" / "README.md"
FOLDER = "/srv/backup"  # where the page has its backup
SECONDS = 120  # for one command, on a busy machine


def commands_of(heading: str) -> list[list[str]]:
    """Return the words of each command in the code blocks of a section, in order. Errors: AssertionError."""
    _, found, rest = PAGE.read_text().partition(f"\n## {heading}\n")
    assert found, f"{PAGE.name} has no section {heading!r}"
    lines = rest.partition("\n## ")[0].splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("    ")]


def run(deployment: Deployment, words: list[str], folder: Path, *, check: bool = True) -> str:
    """Run a `threadhouse` command of the page on a deployment, with its backup in `folder`. Return what it printed.

    check: whether it must succeed
    """
    assert words[0] == "threadhouse"
    arguments = [str(folder) if word == FOLDER else word for word in words[1:]]
    environ = deployment.environ | {"PATH": f"{postgres.binaries()}:{os.environ['PATH']}"}
    program = [sys.executable, "-P", "-m", "api.cli", *arguments]
    done = subprocess.run(program, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False)
    printed = f"$ {shlex.join(words)}\n{done.stdout}{done.stderr}"
    print(printed)
    assert not (check and done.returncode), printed
    return done.stdout


def failed_checks(examined: str) -> set[str]:
    """Return the names of the checks that have failed. examined: what `threadhouse doctor` has printed"""
    assert re.search(r"^ok +config:", examined, re.MULTILINE)
    return set(re.findall(r"^failed +(\w+)", examined, re.MULTILINE))
