"""The hosted shape under load (`make bench`): prints its figures beside those of the embedded server and of the floor.

The test asserts that no turn failed; to check the figures, run tests.bench.hosted with --limits.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
REPEAT = os.environ.get("THREADHOUSE_BENCH_N", "2")


@pytest.mark.timeout(900)
def test_no_turn_fails_in_the_hosted_shape() -> None:
    command = [sys.executable, "-m", "tests.bench.hosted", "--suite", "a,c50", "--shapes", "2x2", "--repeat", REPEAT]

    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    print(ran.stdout)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.count("errors 0") == 4
