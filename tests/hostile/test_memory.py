"""Memory that belongs to no single process: a command that fills it is ended, also where the kernel limits nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.sandboxed_worker import Backend, backend_of
from workers.runner.watchdog import MAX_FILES_IN_MEMORY
from workers.sandbox.seccomp import MACHINES

LIMIT_BYTES = 128 << 20
MOST_BYTES = 1 << 30  # what a bomb of these tests takes at most, when nothing stops it
ENDED = "its memory limit of 128 MiB"
WAIT = "import time; time.sleep(600)"
SHARED = f"""
import mmap
memory = mmap.mmap(-1, {MOST_BYTES})
for at in range(0, {MOST_BYTES}, 1 << 20):
    memory[at:at + (1 << 20)] = bytes(1 << 20)
{WAIT}
"""
SHARED_BY_MANY = f"""
import mmap, os
memory = mmap.mmap(-1, {LIMIT_BYTES // 4})
for at in range(0, len(memory), 4096):
    memory[at] = 1
for _ in range(9):
    if os.fork() == 0:
        sum(memory[at] for at in range(0, len(memory), 4096))
        import time; time.sleep(1.5); os._exit(0)
for _ in range(9):
    os.wait()
print("fits")
"""
MEMFD = f"""
import os, socket
ends = socket.socketpair()
for number in range({MOST_BYTES >> 25}):
    fd = os.memfd_create("bomb")
    os.posix_fallocate(fd, 0, 32 << 20)
    USE
print("filled", flush=True)
{WAIT}
"""
HELD, MAPPED, IN_FLIGHT = (
    "pass",
    "import mmap; globals()[fd] = mmap.mmap(fd, 32 << 20)",
    ("socket.send_fds(ends[0], [b'x'], [fd]); os.close(fd)"),
)
EMPTY_FILES = f"""
import os
for number in range({4 * MAX_FILES_IN_MEMORY}):
    if number % 10_000 == 0:
        os.mkdir(f"FOLDER/{{number}}")
        os.chdir(f"FOLDER/{{number}}")
    NEW
print("filled", flush=True)
{WAIT}
"""
NEW_FILE = "os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY))"
NEW_LINK = "os.link('../0/first', str(number)) if number else os.mknod('first')"


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with backend_of() as backend:
        if backend.run("command -v python3")[0] != 0:
            pytest.skip("no python3 that every user can run: run `apt install python3`")
        yield backend


def empty_files(folder: str, new: str) -> str:
    return EMPTY_FILES.replace("FOLDER", folder).replace("NEW", new)


def run_python(backend: Backend, source: str, **limits: float) -> tuple[int, str | None, str]:
    (backend.workspace / "bomb.py").write_text(source)
    return backend.run("exec python3 bomb.py", **{"total_memory_bytes": LIMIT_BYTES, "wall_seconds": 100, **limits})


def test_shared_memory_counts(backend: Backend) -> None:
    _, stopped_by, output = run_python(backend, SHARED)

    assert stopped_by == ENDED, output


def test_memory_that_processes_share_counts_once(backend: Backend) -> None:
    assert run_python(backend, SHARED_BY_MANY, total_memory_bytes=LIMIT_BYTES) == (0, None, "fits\n")


@pytest.mark.skipif(os.uname().machine not in MACHINES, reason="no filter of system calls for this machine")
@pytest.mark.parametrize("use", [HELD, MAPPED, IN_FLIGHT], ids=["held", "mapped", "in flight"])
def test_memory_behind_descriptors_does_not_exist(backend: Backend, use: str) -> None:
    exit_code, stopped_by, output = run_python(backend, MEMFD.replace("USE", use))

    assert "Function not implemented" in output
    assert (exit_code, stopped_by) == (1, None)


@pytest.mark.parametrize(
    "line", ["head -c 200M /dev/zero > /tmp/big", "head -c 60M /dev/zero | tee /dev/shm/big > /tmp/big"]
)
def test_files_in_memory_count(backend: Backend, line: str) -> None:
    own = "x=$(head -c 40M /dev/zero | tr '\\0' x); "  # the folders alone may stay below the limit

    _, stopped_by, output = backend.run(f"{own}{line}; sleep 600; :", total_memory_bytes=LIMIT_BYTES, wall_seconds=100)

    assert stopped_by == ENDED, output


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])
@pytest.mark.parametrize("new", [NEW_FILE, NEW_LINK], ids=["files", "links"])
def test_number_of_files_in_memory_is_limited(backend: Backend, folder: str, new: str) -> None:
    """Without a limit of memory, as a local user's commands have none."""
    _, stopped_by, output = run_python(backend, empty_files(folder, new), total_memory_bytes=0)

    assert stopped_by == f"the limit of {MAX_FILES_IN_MEMORY} files in its /tmp and /dev/shm", output


def test_empty_files_count_as_memory(backend: Backend) -> None:
    _, stopped_by, output = run_python(backend, empty_files("/tmp", NEW_FILE), total_memory_bytes=64 << 20)

    assert stopped_by == "its memory limit of 64 MiB", output
