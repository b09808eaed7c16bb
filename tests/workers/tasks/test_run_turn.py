"""What a turn's commands may use depends on whose turn it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.config import Limits
from tests.workers.builders import Bench
from workers.sandbox.limits import CommandLimits
from workers.sandbox.sessions import CommandSessions
from workers.tasks import run_turn

MEMORY_BYTES = 1 << 30


@pytest.mark.parametrize(("owner", "memory_bytes"), [("local", 0), ("ann", MEMORY_BYTES)])
def test_the_memory_of_commands_is_limited_for_users_with_keys_only(
    open_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, owner: str, memory_bytes: int
) -> None:
    used: list[CommandLimits] = []

    def record(limits: CommandLimits, **options: Any) -> CommandSessions:
        used.append(limits)
        return CommandSessions(limits, **options)

    monkeypatch.setattr(run_turn, "CommandSessions", record)
    bench = open_bench(limits=Limits(command_memory_bytes=MEMORY_BYTES))

    bench.run_turn(bench.thread(owner), "[[say ok]]")

    assert [limits.total_memory_bytes for limits in used] == [memory_bytes]
