"""The PostgreSQL cluster of the tests ends with the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.wait import until

ROOT = Path(__file__).parents[2]
MAIN_PROCESS = """
import time
from tests.support import postgres

run = postgres.Run()
postgres.join_run(run.folder)
postgres.create_empty_database()
print(run.folder, flush=True)
time.sleep(600)
"""


def test_the_cluster_ends_when_the_main_process_of_the_run_is_killed() -> None:
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", MAIN_PROCESS], stdout=subprocess.PIPE, text=True, env=environ) as main:
        try:
            assert main.stdout is not None
            folder = Path(main.stdout.readline().strip())
            data = (folder / "data").resolve()  # maybe in memory
            postmaster = int((data / "postmaster.pid").read_text().splitlines()[0])
        finally:
            main.kill()

    until(lambda: not folder.exists())
    assert not data.exists()
    assert not Path(f"/proc/{postmaster}").exists()
