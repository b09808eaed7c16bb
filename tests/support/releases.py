"""Earlier releases, built from the history, so that their processes can run beside those of this version."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
COMMITS: dict[str, str] = tomllib.loads((ROOT / "tests" / "upgrade" / "releases.toml").read_text())
SOURCES = ("api", "workers", "shared", "pyproject.toml", "CHANGELOG.md")


@dataclass(frozen=True)
class Release:
    """An earlier release. tree: the folder of its source; python: an interpreter that has its dependencies."""

    version: str
    tree: Path
    python: str


def build(version: str, folder: Path) -> Release:
    """Write the source of a release into the folder. Errors: AssertionError (its commit is missing in this clone)."""
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", COMMITS[version], *SOURCES], capture_output=True, check=False
    )
    missing = f"{version} is not in the history of this clone, try `git fetch --unshallow`: {archive.stderr.decode()}"
    assert archive.returncode == 0, missing
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return Release(version, folder, _interpreter(version, folder))


def _interpreter(version: str, tree: Path) -> str:
    """Return this interpreter if it has what the release needs, otherwise that of an environment for the release."""
    project = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
    if all(_is_met(Requirement(text)) for text in project["dependencies"]):
        return sys.executable
    environment = Path(sys.prefix) / "releases" / version
    python = environment / "bin" / "python"
    if not (environment / ".done").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *project["dependencies"]], check=True)
        (environment / ".done").touch()
    return str(python)


def _is_met(needed: Requirement) -> bool:
    if needed.marker is not None and not needed.marker.evaluate():
        return True
    return needed.specifier.contains(installed_version(needed.name), prereleases=True)
