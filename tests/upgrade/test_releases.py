"""The processes of a release run its own source, and what the changelog says of it stays as it was."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.deployment import clean_environ
from tests.support.releases import ROOT, Release


def test_the_processes_of_a_release_run_its_source(release: Release) -> None:
    program = "import api, shared, workers; print(api.__file__, shared.__file__, workers.__file__)"
    environ = clean_environ() | {"PYTHONPATH": str(release.tree)}

    printed = subprocess.check_output([release.python, "-P", "-c", program], env=environ, cwd=os.sep, text=True)

    files = printed.split()
    assert len(files) == 3
    assert all(Path(file).is_relative_to(release.tree) for file in files)


def test_the_section_of_a_release_in_the_changelog_does_not_change(release: Release) -> None:
    """A merge puts a new entry there when its branch began before the release."""
    now = section((ROOT / "CHANGELOG.md").read_text(), release.version)
    then = section((release.tree / "CHANGELOG.md").read_text(), "Unreleased")

    assert [line for line in now if line not in then] == [], "move these lines to Unreleased"
    assert now == then


def section(changelog: str, heading: str) -> list[str]:
    """Return the lines of a section, without its heading."""
    _, _, rest = changelog.partition(f"## {heading}\n")
    return rest.partition("\n## ")[0].strip().splitlines()
