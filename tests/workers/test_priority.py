"""A worker gives way to the other processes of its host, with the session that it leads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sys
from workers.priority import AUTOGROUP, give_way

for niceness in map(int, sys.argv[1:]):
    give_way(niceness)
print(os.getpriority(os.PRIO_PROCESS, 0), AUTOGROUP.read_text().split()[-1] if AUTOGROUP.exists() else "none")
"""


def priorities(*niceness: int, leads: bool) -> list[str]:
    """Return the niceness of a new process and that of its session, after it gave way."""
    command = [sys.executable, "-c", SCRIPT, *map(str, niceness)]
    done = subprocess.run(command, start_new_session=leads, check=True, capture_output=True, text=True)
    return done.stdout.split()


@pytest.fixture
def before() -> list[str]:
    """Return both for a process that gives way to nobody."""
    return priorities(0, leads=False)


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel has no autogroups")
def test_a_session_gives_way_with_the_process_that_leads_it(before: list[str]) -> None:
    assert priorities(10, leads=True) == ["10", "10"]
    assert priorities(10, leads=False) == ["10", before[1]]


def test_a_process_never_gives_way_less(before: list[str]) -> None:
    assert priorities(0, leads=True)[0] == before[0]
    assert priorities(12, 10, leads=True)[0] == "12"
