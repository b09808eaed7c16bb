"""/tmp of a thread's commands: it lasts as long as the thread, belongs to it alone, and is counted."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.config import Limits
from shared.store.threads import Thread
from tests.support.images import png
from tests.support.turns import command
from tests.workers.agent.test_turn import inputs, outputs, texts
from tests.workers.builders import Bench
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.workspace.folders import remove_workspace, workspace_for


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Return a folder outside of /tmp, because what lies in /tmp cannot be seen with a /tmp of one's own."""
    folder = Path(tempfile.mkdtemp(prefix="threadhouse-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def hosted_thread(bench: Bench, owner: str = "ann", **settings: Any) -> Thread:
    thread = bench.thread(owner, **settings)
    cwd = workspace_for(bench.workers[0].config.server.workspaces_dir, owner, thread.id)
    store = bench.workers[0].store
    store.threads.change_settings(thread.id, owner, {"cwd": str(cwd)})
    return thread


def tmp_of(bench: Bench, thread: Thread) -> Path:
    return bench.workers[0].config.server.workspaces_dir / thread.owner / f"{thread.id}.tmp"


@pytest.mark.parametrize("kind", ["readOnly", "workspaceWrite"])
def test_a_file_in_tmp_is_there_in_a_later_command_and_turn(bench: Bench, kind: str) -> None:
    thread = bench.thread(sandboxPolicy={"type": kind})

    bench.run_turn(thread, command("echo kept > /tmp/k") + command("cat /tmp/k"))
    assert outputs(bench)[-1].endswith("kept\n")
    bench.run_turn(thread, command("cat k").replace('"login"', '"workdir": "/tmp", "login"'))

    assert outputs(bench)[-1].endswith("kept\n")
    assert "<tmp>/tmp belongs to this thread and is kept as long as it</tmp>" in texts(bench, "user")[0]


def test_another_thread_of_the_same_or_another_user_sees_nothing_of_it(bench: Bench) -> None:
    bench.run_turn(hosted_thread(bench), command("echo secret > /tmp/k"))

    for owner in ("ann", "bob"):
        bench.run_turn(hosted_thread(bench, owner), command("ls -A /tmp | wc -l"))
        assert outputs(bench)[-1].endswith("\n0\n")


def test_home_of_a_hosted_thread_is_kept_too(bench: Bench) -> None:
    thread = hosted_thread(bench)

    bench.run_turn(thread, command("git config --global user.name Ann") + command("git config --global user.name"))

    assert outputs(bench)[-1].endswith("Ann\n")
    assert "/tmp, which is HOME too," in texts(bench, "user")[0]


def test_it_is_removed_with_the_thread(bench: Bench) -> None:
    thread, other = hosted_thread(bench), hosted_thread(bench)
    for each in (thread, other):
        bench.run_turn(each, command("mkdir /tmp/d; touch /tmp/d/k; chmod 0 /tmp/d"))

    remove_workspace(bench.workers[0].config.server.workspaces_dir, "ann", thread.id)

    assert not tmp_of(bench, thread).exists()
    assert tmp_of(bench, other).exists()


@pytest.mark.parametrize("kind", ["readOnly", "workspaceWrite"])
def test_it_counts_towards_the_disk_space_of_the_user(open_bench: Callable[..., Bench], kind: str) -> None:
    bench = open_bench(limits=Limits(workspaces_bytes=8 << 20))
    thread = hosted_thread(bench, sandboxPolicy={"type": kind})

    bench.run_turn(thread, command("head -c 32M /dev/zero > /tmp/k; sleep 30"))

    assert "stopped by the limit of its workspace" in outputs(bench)[-1]


def test_what_is_in_it_does_not_count_as_memory(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=Limits(command_memory_bytes=64 << 20))

    bench.run_turn(hosted_thread(bench), command("head -c 256M /dev/zero > /tmp/k; sleep 1; ls -s /tmp"))

    assert "Process exited with code 0" in outputs(bench)[-1]


def test_images_and_patches_may_be_in_it(bench: Bench) -> None:
    thread = hosted_thread(bench)
    bench.run_turn(thread, command("touch /tmp/image.png"))
    (tmp_of(bench, thread) / "image.png").write_bytes(png())

    bench.run_turn(thread, '[[tool view_image {"path": "/tmp/image.png"}]]')
    assert inputs(bench)[-1]["output"][0]["type"] == "input_image"
    patch = "*** Begin Patch\n*** Add File: /tmp/new.txt\n+one\n*** End Patch"
    bench.run_turn(thread, f"[[patch {patch}]]{command('cat /tmp/new.txt')}")

    assert outputs(bench)[-1].endswith("one\n")
    change = next(item for item in bench.shown(thread) if item["type"] == "fileChange")["changes"][0]
    assert change["path"] == "/tmp/new.txt"


def test_a_link_in_it_leads_no_reader_out_of_it(bench: Bench) -> None:
    thread = hosted_thread(bench)
    secret = bench.home / "secret.png"
    secret.write_bytes(png())
    bench.run_turn(thread, command(f"ln -s {secret} /tmp/link.png; ln -s {bench.home} /tmp/home"))

    for path in ("/tmp/link.png", "/tmp/home/secret.png", "/tmp/../secret.png"):
        bench.run_turn(thread, f'[[tool view_image {{"path": "{path}"}}]]')
        assert isinstance(outputs(bench)[-1], str)


def test_a_thread_that_works_below_tmp_has_a_tmp_for_each_command(bench: Bench) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        thread = bench.thread(cwd=folder)

        bench.run_turn(thread, command("ln -s / /tmp/k; pwd") + command("ls /tmp/k"))

        assert outputs(bench)[-2].endswith(f"{folder}\n")
        assert "No such file" in outputs(bench)[-1]
        assert "<tmp>each command has its own /tmp, which ends with it</tmp>" in texts(bench, "user")[0]


def test_a_runner_of_an_older_release_gets_a_message_that_it_understands(tmp_path: Path) -> None:
    policy = SandboxPolicy(kind="read-only", cwd=tmp_path).with_private_tmp(tmp_path / "x.tmp")
    spec = CommandSpec(argv=["true"], cwd=tmp_path, policy=policy, limits=CommandLimits())

    assert policy.private_tmp == tmp_path / "x.tmp"
    assert "private_tmp" not in spec.to_message()["policy"]  # type: ignore[operator]
    assert CommandSpec.from_message(spec.to_message(), policy.private_tmp) == spec
