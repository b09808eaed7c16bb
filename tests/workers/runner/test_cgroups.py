"""Control groups, played with folders: what is asked of the kernel, where a host delegates them."""

from __future__ import annotations

from pathlib import Path

from workers.runner.cgroups import Cgroups, ran_out_of_memory
from workers.sandbox.limits import CommandLimits


def host(tmp_path: Path, controllers: str) -> tuple[Path, Path]:
    """(mount of the cgroup file system, the runner's /proc/self/cgroup)"""
    unit = tmp_path / "mount" / "runner.service"
    unit.mkdir(parents=True)
    (unit / "cgroup.controllers").write_text(controllers)
    (unit / "cgroup.procs").write_text("12\n34\n")
    (tmp_path / "cgroup").write_text("1:name=systemd:/x\n0::/runner.service\n")
    return tmp_path / "mount", tmp_path / "cgroup"


def test_a_delegated_group_is_divided_and_a_command_gets_one_with_its_limits(tmp_path: Path) -> None:
    mount, own = host(tmp_path, "cpu memory pids")

    groups = Cgroups.delegated(mount, own)
    assert groups is not None
    group = groups.make(CommandLimits(total_memory_bytes=1 << 20, processes=7))

    unit = mount / "runner.service"
    assert (unit / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert (unit / "runner" / "cgroup.procs").read_text() == "34"  # a file here keeps the last one only
    assert (group / "memory.max").read_text() == str(1 << 20)
    assert (group / "pids.max").read_text() == "7"
    assert not ran_out_of_memory(group)
    (group / "memory.events").write_text("max 3\noom_kill 1\n")
    assert ran_out_of_memory(group)


def test_without_the_memory_controller_or_cgroups_there_are_none(tmp_path: Path) -> None:
    assert Cgroups.delegated(*host(tmp_path, "hugetlb pids")) is None
    assert Cgroups.delegated(tmp_path, tmp_path / "none") is None
