"""The filter of system calls that bubblewrap loads before a command starts.

The list follows those of Flatpak (common/flatpak-run.c) and Docker (moby/profiles, seccomp/default.json), with their
errors, at which programs fall back to what they did before the call existed. Three entries are our own, because their
memory belongs to no process and no folder that the runner could look at: memfd_create (programs use a file in /dev/shm
instead, whose size is limited), large segments of System V shared memory, and large sets or queues of its relatives.
Calls that are newer than the list do not exist for commands.

The filter is a program for the kernel's BPF machine (linux/filter.h, linux/seccomp.h).
"""

from __future__ import annotations

import struct
from errno import EAFNOSUPPORT, EINVAL, ENOSYS, EPERM
from functools import lru_cache

MAX_SEGMENT_BYTES = 64 << 10  # of System V shared memory; the kernel allows 4096 segments
MAX_SEMAPHORES = 64  # in a set; the kernel allows 32000 sets
LAST_CALL = 470  # listns, of Linux 6.18
ADDRESS_FAMILIES = (0, 1, 2, 10, 16)  # unspecified, UNIX, IPv4, IPv6, netlink
CLONE_NEWUSER = 0x10000000
TIOCSTI, TIOCLINUX = 0x5412, 0x541C

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_… of linux/audit.h

# error → call → its number on each of MACHINES, in that order
REFUSED: dict[int, dict[str, tuple[int, int | None]]] = {
    EPERM: {
        # Keys and programs in the kernel, and its busiest sources of bugs
        "add_key": (248, 217),
        "keyctl": (250, 219),
        "request_key": (249, 218),
        "bpf": (321, 280),
        "fanotify_init": (300, 262),
        "io_uring_enter": (426, 426),
        "io_uring_register": (427, 427),
        "io_uring_setup": (425, 425),
        "lookup_dcookie": (212, 18),
        "modify_ldt": (154, None),
        "perf_event_open": (298, 241),
        "userfaultfd": (323, 282),
        # The host as a whole
        "acct": (163, 89),
        "clock_settime": (227, 112),
        "create_module": (174, None),
        "delete_module": (176, 106),
        "finit_module": (313, 273),
        "init_module": (175, 105),
        "ioperm": (173, None),
        "iopl": (172, None),
        "kexec_file_load": (320, 294),
        "kexec_load": (246, 104),
        "open_by_handle_at": (304, 265),
        "quotactl": (179, 60),
        "quotactl_fd": (443, 443),
        "reboot": (169, 142),
        "settimeofday": (164, 170),
        "swapoff": (168, 225),
        "swapon": (167, 224),
        "sysfs": (139, None),
        "syslog": (103, 116),
        "uselib": (134, None),
        "ustat": (136, None),
        "vhangup": (153, 58),
        # Where memory is placed, also that of other processes
        "get_mempolicy": (239, 236),
        "mbind": (237, 235),
        "migrate_pages": (256, 238),
        "move_pages": (279, 239),
        "set_mempolicy": (238, 237),
        "set_mempolicy_home_node": (450, 450),
        # Namespaces and mounts
        "chroot": (161, 51),
        "mount": (165, 40),
        "pivot_root": (155, 41),
        "setns": (308, 268),
        "umount2": (166, 39),
        "unshare": (272, 97),
    },
    ENOSYS: {
        "clone3": (435, 435),  # its flags are in memory, which a filter cannot read; libraries fall back to clone
        "fsconfig": (431, 431),
        "fsmount": (432, 432),
        "fsopen": (430, 430),
        "fspick": (433, 433),
        "mount_setattr": (442, 442),
        "move_mount": (429, 429),
        "open_tree": (428, 428),
        "open_tree_attr": (467, 467),
        "memfd_create": (319, 279),
        "memfd_secret": (447, 447),
        "msgget": (68, 186),
    },
}
CHECKED: dict[str, tuple[int, int]] = {  # refused for some arguments
    "clone": (56, 220),
    "ioctl": (16, 29),
    "semget": (64, 190),
    "shmget": (29, 194),
    "socket": (41, 198),
}

# Operations of the machine: load a word of struct seccomp_data, compare it with a constant, return a verdict
LOAD, EQUAL, GREATER, NOT_LESS, HAS_BITS, RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER_AT, MACHINE_AT, ARGUMENTS_AT = 0, 4, 16  # offsets in bytes; an argument is 8 bytes long, the lower half first
INSTRUCTION = struct.Struct("=HBBI")  # operation; how many to skip if the comparison holds, and if not; constant

Instruction = tuple[int, int, int, int]
Test = tuple[int, int, int]  # offset of what is tested, operation, constant


def supports(machine: str) -> bool:
    """Return whether the list has the numbers of a machine, as os.uname() names it."""
    return machine in MACHINES


@lru_cache
def assemble(machine: str) -> bytes:
    """Return the filter for a machine that the list supports."""
    column = list(MACHINES).index(machine)
    code: list[Instruction] = [
        (LOAD, 0, 0, MACHINE_AT),
        (EQUAL, 1, 0, MACHINES[machine]),
        (RETURN, 0, 0, KILL),  # calls of 32-bit programs have other numbers
        (LOAD, 0, 0, NUMBER_AT),
        (GREATER, 0, 1, LAST_CALL),  # newer than the list, or of the x32 table
        (RETURN, 0, 0, REFUSE | ENOSYS),
    ]
    for error, calls in REFUSED.items():
        for numbers in calls.values():
            number = numbers[column]
            if number is not None:
                code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE | error)]
    for name, check in CHECKS.items():
        code += [(EQUAL, 0, len(check), CHECKED[name][column]), *check]
    return b"".join(INSTRUCTION.pack(*each) for each in [*code, (RETURN, 0, 0, ALLOW)])


def _check(tests: list[Test], if_any: int, otherwise: int) -> list[Instruction]:
    """Return code that ends with one verdict if any of the tests holds, and with another one if not."""
    code: list[Instruction] = []
    for at, operation, constant in tests:
        code += [(LOAD, 0, 0, at), (operation, 0, 1, constant), (RETURN, 0, 0, if_any)]
    return [*code, (RETURN, 0, 0, otherwise)]


FIRST, SECOND, SECOND_UPPER = ARGUMENTS_AT, ARGUMENTS_AT + 8, ARGUMENTS_AT + 12
CHECKS = {
    "clone": _check([(FIRST, HAS_BITS, CLONE_NEWUSER)], REFUSE | EPERM, ALLOW),
    "ioctl": _check([(SECOND, EQUAL, TIOCSTI), (SECOND, EQUAL, TIOCLINUX)], REFUSE | EPERM, ALLOW),
    "semget": _check([(SECOND, GREATER, MAX_SEMAPHORES)], REFUSE | EINVAL, ALLOW),
    "shmget": _check([(SECOND_UPPER, NOT_LESS, 1), (SECOND, GREATER, MAX_SEGMENT_BYTES)], REFUSE | EINVAL, ALLOW),
    "socket": _check([(FIRST, EQUAL, family) for family in ADDRESS_FAMILIES], ALLOW, REFUSE | EAFNOSUPPORT),
}
