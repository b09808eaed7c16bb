"""MCP servers under faults: a call ends truthfully and never twice, and no process is left, however a worker ends."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import mcp_program, processes
from tests.support.deployment import Deployment
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import run_turn, start_thread, start_turn, stored_turn, wait_for_end
from tests.support.wait import until

MODES = {"default_tools_approval_mode": "approve"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


def start(client: ProtocolClient, folder: Path, *switches: str, **settings: Any) -> str:
    args = mcp_program.arguments(*switches)
    table = {"command": mcp_program.INTERPRETER, "args": args, "required": True, **MODES, **settings}
    return start_thread(client, cwd=str(folder), config={"mcp_servers": {"demo": table}})


def call(tool: str, **arguments: Any) -> str:
    return f"[[tool mcp__demo::{tool} {json.dumps(arguments)}]]"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("tool", ["append", "once"])
def test_a_worker_that_ends_in_mid_call_leaves_no_process_and_repeats_nothing(
    deploy: Callable[..., Deployment], times: range, folder: Path, how: signal.Signals, tool: str
) -> None:
    deployment = deploy(workers=1)
    client = deployment.connect()

    for number in times:
        file = folder / f"ran-{number}"
        tag = f"100000.{time.monotonic_ns()}"
        thread_id = start(client, folder, f"sleeps={tag}")
        turn_id = start_turn(client, thread_id, call("child") + call(tool, file=str(file)) + "[[say Done.]]")
        until(file.exists)
        assert processes.is_running(tag)

        deployment.workers[0].signal(how)
        deployment.workers[0].wait()
        until(lambda: not processes.is_running(tag))  # noqa: B023
        (folder / f"ran-{number}.go").touch()
        deployment.start_worker(deployment.workers[0])

        assert wait_for_end(client, turn_id)["status"] == "completed"
        item = stored_turn(client, thread_id, turn_id)["items"][2]
        repeated = tool == "once" and how == signal.SIGKILL
        assert item["status"] == ("completed" if repeated else "failed")
        assert file.read_text().count("ran") == (2 if repeated else 1)


def test_broken_servers_harm_neither_the_turn_nor_others(
    deploy: Callable[..., Deployment], times: range, folder: Path
) -> None:
    deployment = deploy(workers=1)
    client = deployment.connect()

    for _ in times:
        tag = f"100000.{time.monotonic_ns()}"
        whole, flooding = start(client, folder, f"sleeps={tag}"), start(client, folder, f"sleeps={tag}")
        silent = start(client, folder, "silent", f"sleeps={tag}", required=False, startup_timeout_sec=2)
        script = "".join(
            (call("flood", bytes=20_000), call("big", bytes=50_000_000), call("die"), call("echo", text="a"))
        )
        broken = start_turn(client, flooding, script + "[[say Done.]]")
        waiting = start_turn(client, silent, "[[say Done.]]")
        good = run_turn(client, whole, call("echo", text="b") + "[[say Done.]]")

        assert good["status"] == wait_for_end(client, broken)["status"] == wait_for_end(client, waiting)["status"]
        assert good["status"] == "completed"
        calls = stored_turn(client, flooding, broken)["items"][1:-1]
        assert [one["status"] for one in calls] == ["completed", "failed", "failed", "failed"]
        assert calls[3]["error"]["message"].endswith("Transport closed")
        assert stored_turn(client, whole, good["id"])["items"][1]["result"]["content"][0]["text"] == "echo: b"
        deployment.workers[0].stop()
        until(lambda: not processes.is_running(tag))  # noqa: B023
        deployment.start_worker(deployment.workers[0])
