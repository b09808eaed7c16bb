"""A worker gives way to the other processes of its host, with the session that it leads."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
from workers.priority import AUTOGROUP, give_way

for niceness in map(int, sys.argv[1:]):
    give_way(niceness)
session = AUTOGROUP.read_text().split() if AUTOGROUP.exists() else []
print(os.getpriority(os.PRIO_PROCESS, 0), session[-1] if session else "none")
"""


def priorities(*niceness: int, leads: bool) -> list[str]:
    """Return the niceness of a new process and that of its session, after it gave way.

    The second is "none" where the kernel counts no sessions, or where nothing above this process began one.
    """
    command = [sys.executable, "-c", SCRIPT, *map(str, niceness)]
    done = subprocess.run(command, start_new_session=leads, check=True, capture_output=True, text=True)
    return done.stdout.split()


@pytest.fixture
def before() -> list[str]:
    """Return both for a process that gives way to nobody."""
    return priorities(0, leads=False)


def test_a_session_gives_way_with_the_process_that_leads_it(before: list[str]) -> None:
    if priorities(0, leads=True)[1] == "none":
        pytest.skip("this kernel has no autogroups")
    assert priorities(10, leads=True) == ["10", "10"]
    assert priorities(10, leads=False) == ["10", before[1]]


def test_a_process_never_gives_way_less(before: list[str]) -> None:
    assert priorities(0, leads=True)[0] == before[0]
    assert priorities(12, 10, leads=True)[0] == "12"
