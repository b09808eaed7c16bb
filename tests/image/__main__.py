"""Build the image and test it with what compose.yaml names, without a container engine: python -m tests.image

Everything happens in a folder of its own and in namespaces of its own (mounts, processes; for the tests the network,
too), so nothing is left when it ends, however it ends. It needs root, Linux, the programs of PROGRAMS and Debian's
mirror; where it cannot run, or the mirror is too slow, it says why and exits with 0.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.image import building, compose, roots
from tests.support.wait import until

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose.yaml"
CACHE = ROOT / ".cache" / "image-test"
NEEDED_BYTES = 4 << 30
PREPARE_SECONDS = 900  # for both Debians and the build
TEST_SECONDS = 900  # for all tests together; then the one that runs fails
NAME = "threadhouse"
# Program → Debian's package with it.
PROGRAMS = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "runc": "runc",
    "socat": "socat",
    "tini": "tini",
}
# Process 1 has to wait for what health checks leave behind: no container ends before.
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "tini", "--")
CGROUPS = Path("/sys/fs/cgroup")
INSIDE = "--in-namespaces"


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] == INSIDE:
        return build_and_test(Path(arguments[1]), arguments[2:])
    if reason := impossible():
        print(f"image-test skipped: {reason}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with work_folder() as work:
        inside = [*NAMESPACES, sys.executable, "-m", "tests.image", INSIDE, str(work), *arguments]
        with subprocess.Popen(inside, cwd=ROOT) as process:
            try:
                return process.wait()
            finally:
                process.kill()  # the kernel ends all processes and mounts of the namespaces


def impossible() -> str | None:
    """Return why this machine cannot run the test, or None if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it needs root on Linux, to mount and to make namespaces"
    if missing := [package for program, package in PROGRAMS.items() if shutil.which(program) is None]:
        return f"programs are missing: apt-get install --no-install-recommends {' '.join(missing)}"
    tried = subprocess.run([*NAMESPACES, "unshare", "--net", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"this machine does not let root make namespaces: {tried.stderr.strip()}"
    if not os.access(CGROUPS, os.W_OK):
        return f"runc cannot write to {CGROUPS}"
    if shutil.disk_usage(temporary()).free < NEEDED_BYTES:
        return f"{temporary()} has less than {NEEDED_BYTES >> 30} GiB of free space; set TMPDIR to another folder"
    try:
        roots.check_mirror()
    except roots.MirrorDown as error:
        return str(error)
    return None


def temporary() -> str:
    """Return a folder on a disk: /tmp may be in memory."""
    return os.environ.get("TMPDIR", "/var/tmp")


@contextmanager
def work_folder() -> Iterator[Path]:
    """Yield an empty folder; it and the control groups with its name are removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="threadhouse-image-", dir=temporary()))
    try:
        yield folder
    finally:
        for group in CGROUPS.glob(f"**/{folder.name}"):
            for inner in sorted(group.glob("**/"), reverse=True):
                until(lambda empty=inner: is_removed(empty))  # once the last process that was killed is gone
        shutil.rmtree(folder, ignore_errors=True)


def is_removed(group: Path) -> bool:
    with suppress(OSError):
        group.rmdir()
    return not group.exists()


def build_and_test(work: Path, pytest_arguments: list[str]) -> int:
    """Build the image with the network of the machine, then test it in a network namespace. Return the exit code."""
    built = compose.load(COMPOSE, {"POSTGRES_PASSWORD": "unused"}).build
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PREPARE_SECONDS)
    try:
        base, services = roots.prepare(CACHE)
        builder = building.Builder(work)
        builder.import_base(base)
        context, dockerfile = built[NAME]
        print(
            f"image-test: building {dockerfile.relative_to(ROOT)} on Debian {roots.BASE.release} of the mirror",
            flush=True,
        )
        builder.build(context, dockerfile, NAME)
    except RuntimeError as failure:
        try:
            roots.check_mirror()
        except roots.MirrorDown as error:
            print(f"image-test skipped: {error}")
            return 0
        print(f"image-test failed: {failure}")
        return 1
    signal.alarm(0)
    (work / "image").symlink_to(builder.mount(NAME))
    (work / "services").symlink_to(services)
    (work / "image.json").write_text(builder.described(NAME))
    (work / "image.size").write_text(builder.size(NAME))
    options = ["--quiet", "--capture=no", "--exitfirst", f"--session-timeout={TEST_SECONDS}"]
    tests = [sys.executable, "-m", "pytest", *options, *(pytest_arguments or ["tests/image"])]
    command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *tests]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "THREADHOUSE_IMAGE_TEST": str(work)}, check=False
    ).returncode


def give_up(*_: object) -> None:
    """End at once; the kernel ends what still runs in the namespaces."""
    print(f"image-test skipped: Debian and the image were not there within {PREPARE_SECONDS} s", flush=True)
    os._exit(0)


sys.exit(main(sys.argv[1:]))
