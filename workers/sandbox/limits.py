"""How much of the host a command may use; `prlimit` sets these limits inside the sandbox, before the command begins.

They are set inside, because the number of processes is counted per user namespace (Linux 5.14), so that each sandbox
has its own count. For root that limit has no effect, so a server with users does not run its workers as root.
"""

from __future__ import annotations

import resource
import shutil
from dataclasses import dataclass

from shared.errors import SandboxUnavailable

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CPU_SECONDS = 1800
MEMORY_BYTES = 4 << 30
PROCESSES = 512  # threads included
FILE_SIZE_BYTES = 4 << 30
OPEN_FILES = 4096
WALL_SECONDS = 3600.0
OUTPUT_BYTES = 1 << 20


@dataclass(frozen=True)
class CommandLimits:
    """Limits of one command.

    cpu_seconds, memory_bytes, file_size_bytes, open_files: of each process. memory_bytes counts private writable
    memory (RLIMIT_DATA), not reserved address space, of which node, Java and Go reserve dozens of gigabytes.
    processes:    of the command as a whole, threads included
    wall_seconds: after which the command is ended
    output_bytes: how much of its output is kept
    total_memory_bytes: of all its processes together; 0: no limit
    """

    cpu_seconds: int = CPU_SECONDS
    memory_bytes: int = MEMORY_BYTES
    processes: int = PROCESSES
    file_size_bytes: int = FILE_SIZE_BYTES
    open_files: int = OPEN_FILES
    wall_seconds: float = WALL_SECONDS
    output_bytes: int = OUTPUT_BYTES
    total_memory_bytes: int = 0

    def prlimit(self) -> list[str]:
        """Return the words to put before a command."""
        wanted = {
            "cpu": (resource.RLIMIT_CPU, self.cpu_seconds),
            "data": (resource.RLIMIT_DATA, self.memory_bytes),
            "nproc": (resource.RLIMIT_NPROC, self.processes),
            "fsize": (resource.RLIMIT_FSIZE, self.file_size_bytes),
            "nofile": (resource.RLIMIT_NOFILE, self.open_files),
            "core": (resource.RLIMIT_CORE, 0),
        }
        words = [system_program("prlimit")]
        for name, (number, most) in wanted.items():
            hard = resource.getrlimit(number)[1]  # raising it needs privileges
            words.append(f"--{name}={most if hard == resource.RLIM_INFINITY else min(most, hard)}")
        return [*words, "--"]


def system_program(name: str) -> str:
    """Return the path of a program of util-linux. Errors: SandboxUnavailable."""
    path = shutil.which(name, path=SYSTEM_PATH)
    if path is None:
        raise SandboxUnavailable(f"commands need `{name}` of util-linux: run `apt install util-linux`")
    return path
