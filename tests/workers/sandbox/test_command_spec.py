"""CommandSpec: what reaches the tool runner of a command."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from workers.sandbox.channel import Channel
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy


def test_spec_is_unchanged_after_the_channel(tmp_path: Path) -> None:
    policy = SandboxPolicy(
        kind="workspace-write",
        cwd=tmp_path,
        writable_roots=(tmp_path,),
        hidden=(Path("/srv"),),
        quotas=((tmp_path, 1 << 20, 100),),
    )
    spec = CommandSpec(
        argv=["/bin/echo", "é"],
        cwd=tmp_path,
        policy=policy,
        limits=CommandLimits(wall_seconds=1.5),
        tty=True,
        rows_columns=(10, 20),
        env={"A": "1", "B": None},
    )
    ends = socket.socketpair()
    with ends[0], ends[1]:
        Channel(ends[0]).send({"command": spec.to_message()})
        received = Channel(ends[1]).receive()

    assert received is not None
    assert CommandSpec.from_message(received[0]["command"]) == spec  # type: ignore[arg-type]


def test_message_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    spec = CommandSpec(argv=["true"], cwd=tmp_path, policy=SandboxPolicy("read-only", tmp_path), limits=CommandLimits())

    with pytest.raises(TypeError, match="unexpected"):
        CommandSpec.from_message({**spec.to_message(), "unexpected": 1})
