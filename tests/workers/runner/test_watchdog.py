"""The watchdog of the tool runner."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.wait import until
from workers.runner import watchdog
from workers.runner.command import Command
from workers.runner.watchdog import Watchdog

MAX_BYTES = 1 << 20
BLOCK_BYTES = 4096


@dataclass(eq=False)
class RunningCommand:
    """A command as far as the watchdog looks at it."""

    folder: Path
    killed: list[str] = field(default_factory=list)
    group: Path | None = None
    pid: int = field(default_factory=os.getpid)

    @property
    def spec(self) -> Any:
        policy = SimpleNamespace(quotas=[(self.folder, MAX_BYTES, 0)], writable_roots=[self.folder], private_tmp=None)
        return SimpleNamespace(limits=SimpleNamespace(total_memory_bytes=0), policy=policy)

    def kill_soon(self, reason: str) -> None:
        self.killed.append(reason)


def test_quota_ends_a_command_while_others_free_more_than_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = itertools.count(1000, 100)  # blocks, more at each look

    def shrinking(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(f_blocks=1 << 30, f_bfree=next(free), f_frsize=BLOCK_BYTES, f_files=1000, f_ffree=1000)

    monkeypatch.setattr(watchdog, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(watchdog, "LONGEST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(watchdog.os, "statvfs", shrinking)
    command = RunningCommand(tmp_path)
    dog = Watchdog()
    dog.add(cast(Command, command))
    until(lambda: next(free) > 2000)  # it has looked, and the folder was empty

    (tmp_path / "large").write_bytes(bytes(2 * MAX_BYTES))

    until(lambda: command.killed)
    dog.remove(cast(Command, command))
    assert "limit of its workspace, 1 MiB" in command.killed[0]


class LostCommand(RunningCommand):
    """A command that ends while it is looked at."""

    @property
    def spec(self) -> Any:
        raise FileNotFoundError


def test_a_check_that_fails_does_not_spare_other_commands(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(2 * MAX_BYTES))
    command = RunningCommand(tmp_path)
    dog = Watchdog()
    for each in (LostCommand(tmp_path), LostCommand(tmp_path), LostCommand(tmp_path), command):
        dog.add(cast(Command, each))

    until(lambda: command.killed)

    for each in tuple(dog._commands):
        dog.remove(each)
