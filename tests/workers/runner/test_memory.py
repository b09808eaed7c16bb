"""What is in a command's folders in memory, while its sandbox is set up and afterwards."""

from __future__ import annotations

import subprocess

from workers.runner.memory import SHM, TMP, folders_in_memory
from workers.sandbox.bubblewrap import find_bwrap

STARTS = 20  # with the host's files counted, one of the first always showed hundreds of thousands
FEW_FILES = 100
SANDBOX = ("--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")


def test_files_of_the_host_never_count_while_a_sandbox_is_set_up() -> None:
    most_files = 0
    for _ in range(STARTS):
        command = [find_bwrap(), *SANDBOX, "--tmpfs", "/tmp", "--tmpfs", "/dev/shm", "true"]
        with subprocess.Popen(command) as starting:
            while starting.poll() is None:
                most_files = max(most_files, folders_in_memory(starting.pid, (TMP, SHM)).files)
        assert starting.returncode == 0

    assert most_files < FEW_FILES
