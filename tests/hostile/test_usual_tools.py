"""The tools of developers work inside of the sandbox, with its filter of system calls and its limits of memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sandboxed_worker import Backend, backend_of

LIMITS = {"total_memory_bytes": 2 << 30, "wall_seconds": 100}
POOL = """
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import Array, Manager, shared_memory

def square(number):
    return number * number

if __name__ == "__main__":
    with ProcessPoolExecutor(2) as processes, ThreadPoolExecutor(2) as threads:
        assert sum(processes.map(square, range(9))) == sum(threads.map(square, range(9)))
    block = shared_memory.SharedMemory(create=True, size=16 << 20)
    block.buf[:5] = b"hello"
    block.unlink()
    assert Array("i", 3)[:] == [0, 0, 0]
    with Manager() as manager:
        assert list(manager.list([1])) == [1]
    print("done")
"""
C_PROGRAM = """
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/shm.h>

static void *say(void *word) { return word; }

int main(void) {
    pthread_t thread;
    void *said;
    int shared = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
    char *memory = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared < 0 || memory == MAP_FAILED || pthread_create(&thread, 0, say, "done")) return 1;
    pthread_join(thread, &said);
    return puts(said) < 0;
}
"""
NODE = """
const { Worker, isMainThread, parentPort } = require("worker_threads");
const child = require("child_process");
if (isMainThread) {
    child.execFileSync(process.execPath, ["-e", "require('fs').promises.readFile('/etc/passwd').then(() => 0)"]);
    new Worker(__filename).on("message", (word) => console.log(word));
} else parentPort.postMessage("done");
"""
TOOLS = {  # a name that begins with the program → a line that ends with the word "done"
    "gcc": "gcc -O2 -o program program.c -pthread && ./program",
    "make": "printf 'all:\\n\\t@echo done\\n' > Makefile && make -j4",
    "git": (
        "git init -q . && git add program.c && git -c user.name=a -c user.email=a@b commit -qm done && git gc -q"
        " && git clone -q . copy && git -C copy log --format=%s"
    ),
    "python3 with pools": "python3 pool.py",
    "python3 with venv": "python3 -m venv --without-pip env && env/bin/python -c 'print(\"done\")'",
    "python3 with pytest": "echo 'def test(): pass' > test_it.py && PYTHONPATH=lib python3 -m pytest -q && echo done",
    "pip": (
        "mkdir thing && mv setup.py thing.py thing && pip install -q --no-index --no-build-isolation --no-deps"
        " --target out ./thing && python3 -c 'import out.thing'"
    ),
    "node": "node threads.js",
    "npm": (
        "npm init -y >/dev/null && npm pack --silent && mkdir user && cd user && npm init -y >/dev/null"
        " && npm install --offline --silent ../npm-1.0.0.tgz && ls node_modules/npm/threads.js && echo done"
    ),
    "strace": "strace -f -o trace sh -c 'cat /dev/null' && grep -q execve trace && echo done",
    "gdb": "gdb -batch -nx -ex run -ex 'echo done\\n' --args /bin/true | tail -1",
    "perl": 'perl -MIPC::Open3 -e \'waitpid(open3(0, 0, 0, "true"), 0); print "done\\n"\'',
    "cargo": "cargo init -q --name it it && cd it && cargo run -q >/dev/null && echo done",
    "go": "printf 'package main\\nfunc main() { println(1) }' > it.go && go run it.go && echo done",
    "java": "java It.java",
}
SOURCES = {
    "pool.py": POOL,
    "program.c": C_PROGRAM,
    "threads.js": NODE,
    "setup.py": "from setuptools import setup; setup(name='thing', version='1', py_modules=['thing'])",
    "thing.py": "print('done')",
    "It.java": 'class It { public static void main(String[] words) { System.out.println("done"); } }',
}
PYTEST = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments")


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with backend_of() as backend:
        yield backend


@pytest.mark.parametrize("tool", TOOLS)
def test_tool_works_in_the_sandbox(backend: Backend, tool: str) -> None:
    program = tool.split()[0]
    if backend.run(f"command -v {program}")[0] != 0:
        pytest.skip(f"no {program} on this machine")
    folder = backend.workspace / tool.split()[-1]
    folder.mkdir()
    for name, text in SOURCES.items():
        (folder / name).write_text(text)
    if "pytest" in tool:
        site = Path(pytest.__file__).parents[1]
        for package in PYTEST:
            shutil.copytree(site / package, folder / "lib" / package)
        shutil.copy(site / "py.py", folder / "lib")
    backend.give(folder)

    exit_code, stopped_by, output = backend.run(f"cd {folder.name} && {TOOLS[tool]}", **LIMITS)

    assert (exit_code, stopped_by, output.split()[-1:]) == (0, None, ["done"]), output
