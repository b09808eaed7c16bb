"""The description of a container for runc, with Docker's defaults for users, capabilities, files and system calls."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.image.images import Image

CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
]
MASKED = [
    *("/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
    "/sys/devices/virtual/powercap",
]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
# Docker allows these to CAP_SYS_ADMIN only; `clone` without flags for new namespaces.
NAMESPACE_CALLS = ["fsconfig", "fsmount", "fsopen", "mount", "move_mount", "open_tree", "pivot_root", "setns", "umount"]
NAMESPACE_CALLS += ["umount2", "unshare"]
NAMESPACE_FLAGS = 0x7E020000
EPERM, ENOSYS = 1, 38
MOUNTS = [
    ("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    ("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
]


@dataclass(frozen=True)
class Bind:
    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Process:
    arguments: tuple[str, ...]
    environment: dict[str, str]
    user: str
    nofile: int | None = None
    memory_bytes: int | None = None


def description(
    image: Image,
    process: Process,
    binds: list[Bind],
    *,
    root: Path,
    network: Path,
    hostname: str,
    cgroup: str,
    security_opt: frozenset[str],
) -> dict[str, Any]:
    """Return the config.json of a container. root: its files. network: file of its network namespace."""
    masks = {} if "systempaths=unconfined" in security_opt else {"maskedPaths": MASKED, "readonlyPaths": READ_ONLY}
    filters = {} if "seccomp=unconfined" in security_opt else {"seccomp": _filter()}
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(root)},
        "hostname": hostname,
        "process": _process(image, process, hostname),
        "mounts": [_mount(*mount) for mount in MOUNTS] + [_bind(bind) for bind in binds],
        "linux": {
            "namespaces": [
                *({"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")),
                {"type": "network", "path": str(network)},
            ],
            "cgroupsPath": cgroup,
            "resources": {
                "devices": [{"allow": False, "access": "rwm"}],
                **({"memory": {"limit": process.memory_bytes}} if process.memory_bytes else {}),
            },
            **masks,
            **filters,
        },
    }


def _process(image: Image, process: Process, hostname: str) -> dict[str, Any]:
    uid, gid, groups, home = identity(image.root, process.user)
    environment = {"PATH": image.path, "HOSTNAME": hostname, "HOME": home, **image.environment, **process.environment}
    held = CAPABILITIES if uid == 0 else []
    described: dict[str, Any] = {
        "terminal": False,
        "user": {"uid": uid, "gid": gid, "additionalGids": groups},
        "args": list(process.arguments),
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": image.folder,
        "capabilities": {"bounding": CAPABILITIES, "effective": held, "permitted": held},
    }
    if process.nofile is not None:
        described["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": process.nofile, "hard": process.nofile}]
    return described


def identity(root: Path, user: str) -> tuple[int, int, list[int], str]:
    """Return user id, group id, other groups and home of a user of the image. Errors: KeyError."""
    users = {name: fields for name, *fields in _entries(root / "etc/passwd")}
    _, uid, gid, _, home, _ = users[user]
    groups = [int(number) for _, _, number, members in _entries(root / "etc/group") if user in members.split(",")]
    return int(uid), int(gid), groups, home


def _entries(file: Path) -> list[list[str]]:
    return [line.split(":") for line in file.read_text().splitlines()]


def _mount(target: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": options}


def _bind(bind: Bind) -> dict[str, Any]:
    return _mount(bind.target, "bind", str(bind.source), ["rbind", "rprivate", "ro" if bind.read_only else "rw"])


def _filter() -> dict[str, Any]:
    """Return what Docker's filter of system calls forbids that bubblewrap would use; the rest is allowed."""
    flags = [1 << bit for bit in range(32) if NAMESPACE_FLAGS >> bit & 1]
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [
            {"names": NAMESPACE_CALLS, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM},
            # The flags of clone3 are in memory, which a filter cannot read: programs fall back to clone.
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
            *(
                {
                    "names": ["clone"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": EPERM,
                    "args": [{"index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ"}],
                }
                for flag in flags
            ),
        ],
    }


def write(folder: Path, described: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(described, indent=1))
