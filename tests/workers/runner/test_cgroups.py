"""Control groups, simulated by folders: what the runner writes where a host delegates them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers.runner import cgroups
from workers.runner.cgroups import Cgroups, NotDelegated, ran_out_of_memory
from workers.runner.host import why_memory_is_unlimited
from workers.sandbox import runner
from workers.sandbox.limits import CommandLimits

UNIT = "system.slice/threadhouse.service"


class Host:
    """The cgroup file system, and in it the group of this process. Plain files keep only the last pid."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mount = folder / "mount"
        self.mount.mkdir()
        (self.mount / "cgroup.controllers").write_text("cpu memory pids")
        self.membership = folder / "membership"
        monkeypatch.setattr(cgroups, "MOUNT", self.mount)
        monkeypatch.setattr(cgroups, "MEMBERSHIP", self.membership)

    def enter(self, name: str, controllers: str = "cpu memory pids") -> Path:
        """Let this process be in a group, with two others. Return the group."""
        group = self.mount / name
        group.mkdir(parents=True, exist_ok=True)
        (group / "cgroup.controllers").write_text(controllers)
        (group / "cgroup.type").write_text("domain")
        (group / "cgroup.procs").write_text("12\n34\n")
        self.membership.write_text(f"1:name=systemd:/x\n0::/{name}\n")
        return group


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def mark(group: Path) -> None:
    try:
        os.setxattr(group, "user.delegate", b"1")
    except OSError:
        pytest.skip("the file system of the tests has no extended attributes")


def test_delegated_group_gets_a_subgroup_with_limits_for_each_command(host: Host) -> None:
    unit = host.enter(UNIT)
    mark(unit)

    group = Cgroups.delegated().make(CommandLimits(total_memory_bytes=1 << 20, processes=7))

    assert group.parent == unit
    assert (unit / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert (unit / "threadhouse/cgroup.procs").read_text() == "34"
    assert (group / "memory.max").read_text() == str(1 << 20)
    assert (group / "pids.max").read_text() == "7"
    assert not ran_out_of_memory(group)
    (group / "memory.events").write_text("max 3\noom_kill 1\n")
    assert ran_out_of_memory(group)


def test_runners_of_one_server_share_the_delegated_group(host: Host) -> None:
    """The second one starts in the subgroup that the first has made."""
    mark(host.enter(UNIT))
    Cgroups.delegated()
    (host.mount / UNIT / "threadhouse/cgroup.controllers").write_text("memory pids")
    host.enter(f"{UNIT}/threadhouse")

    group = Cgroups.delegated().make(CommandLimits())

    assert group.parent == host.mount / UNIT
    assert not (host.mount / UNIT / "threadhouse/threadhouse").exists()


def test_the_runner_that_a_worker_starts_for_itself_divides_the_group(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = host.enter("")
    places = f"cgroups.MOUNT, cgroups.MEMBERSHIP = map(cgroups.Path, {[str(host.mount), str(host.membership)]})"
    start = "from workers.runner.server import main;"
    assert start in runner.BOOT
    monkeypatch.setattr(
        runner, "BOOT", runner.BOOT.replace(start, f"{start} from workers.runner import cgroups; {places};")
    )
    monkeypatch.setattr(runner, "_runner", own := runner._Runner(None))

    assert why_memory_is_unlimited() is None

    assert (unit / "threadhouse").exists()
    assert own._control is not None
    own._control.close()


def test_the_group_of_a_container_is_its_own(host: Host) -> None:
    host.enter("")

    assert Cgroups.delegated().make(CommandLimits()).parent == host.mount


def test_groups_of_runners_that_were_killed_are_removed(host: Host) -> None:
    unit = host.enter("")
    (unit / "command-99999999-1").mkdir()
    (unit / f"command-{os.getpid()}-1").mkdir()

    Cgroups.delegated()

    assert [group.name for group in unit.glob("command-*")] == [f"command-{os.getpid()}-1"]


def test_a_group_whose_processes_end_late_is_removed_later(host: Host) -> None:
    host.enter("")
    groups = Cgroups.delegated()
    first, second = groups.make(CommandLimits()), groups.make(CommandLimits())
    for file in second.iterdir():
        file.unlink()

    groups.remove(first)  # it has files, as if it had processes
    for file in first.iterdir():
        file.unlink()
    groups.remove(second)

    assert not first.exists()
    assert not second.exists()


def test_no_groups_without_the_memory_controller(host: Host) -> None:
    mark(host.enter(UNIT, "hugetlb pids"))

    with pytest.raises(NotDelegated, match="does not control memory"):
        Cgroups.delegated()


def test_a_group_that_is_only_writable_is_not_divided(host: Host) -> None:
    """As root every group is writable, and in the session of a user all of his groups are."""
    host.enter("user.slice/session-1.scope")

    with pytest.raises(NotDelegated, match=r"session-1.scope is not delegated"):
        Cgroups.delegated()


def test_the_group_of_the_whole_host_is_not_divided(host: Host) -> None:
    (host.enter("") / "cgroup.type").unlink()

    with pytest.raises(NotDelegated, match="is not delegated"):
        Cgroups.delegated()
    assert not (host.mount / "threadhouse").exists()


def test_no_groups_without_cgroup_v2(host: Host) -> None:
    (host.mount / "cgroup.controllers").unlink()

    with pytest.raises(NotDelegated, match="no cgroup v2"):
        Cgroups.delegated()
