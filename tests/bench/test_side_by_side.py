"""Our server and the original on the same scripted model (`make bench`): prints the ratios of their figures.

The test asserts that no turn failed; to check the figures, run side_by_side.py with --limits.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CODEX = ROOT / "node_modules" / ".bin" / "codex"
REPEAT = os.environ.get("THREADHOUSE_BENCH_N", "2")
SUITE = os.environ.get("THREADHOUSE_BENCH_SUITE", "a,b,c50,c200")


@pytest.mark.timeout(1800)
def test_no_turn_fails_in_the_comparison_with_the_original(tmp_path: Path) -> None:
    if not CODEX.exists():
        pytest.skip("the original is not installed: npm install")
    environment = {**os.environ, "TH_BIN": str(threadhouse()), "CODEX_BIN": str(CODEX)}

    ran = subprocess.run(
        [sys.executable, HERE / "side_by_side.py", SUITE, "--repeat", REPEAT, "--out", tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    print(ran.stdout)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.count("errors 0/") == len(SUITE.split(","))


def threadhouse() -> Path:
    found = shutil.which("threadhouse", path=str(Path(sys.executable).parent))
    assert found, "threadhouse is not installed for this Python: run `make setup`"
    return Path(found)
