"""A worker is killed around a hook: the hook decides once, and what it refused never runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.deployment import PATIENT, Deployment
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import check_order, command, of_thread, start_turn, wait_for_end
from tests.support.wait import until

SECONDS = 120.0  # for a turn whose worker was killed, on a busy machine
MARK = "held-by-the-test-of-hooks"
DENY = json.dumps({"hookSpecificOutput": {"permissionDecision": "deny", "permissionDecisionReason": "not this"}})
# The first run is held open; the second refuses. What a run has noted before it was killed stays.
HELD = f"echo run >> seen; [ $(wc -l < seen) = 2 ] || sh -c 'sleep 600; : {MARK}'; echo '{DENY}'"
# The first run lets the call pass; a second one would refuse it.
ONCE = f"echo run >> seen; [ $(wc -l < seen) = 1 ] || echo '{DENY}'"


def with_hook(deploy: Callable[..., Deployment], home: Path, line: str) -> tuple[Deployment, ProtocolClient]:
    """Start a server without workers, whose one hook is trusted."""
    hook = {"type": "command", "command": line, "timeout": 600}
    (home / "hooks.json").write_text(json.dumps({"hooks": {"PreToolUse": [{"hooks": [hook]}]}}))
    deployment = deploy(workers=0, server=PATIENT)
    client = deployment.connect()
    (listed,) = client.request("hooks/list", {})["data"]
    state = {hook["key"]: {"trusted_hash": hook["currentHash"]} for hook in listed["hooks"]}
    edit = {"keyPath": "hooks.state", "value": state, "mergeStrategy": "upsert"}
    client.request("config/batchWrite", {"edits": [edit]})
    return deployment, client


def start_thread(client: ProtocolClient) -> tuple[str, Path]:
    thread = client.request("thread/start", {})["thread"]
    return thread["id"], Path(thread["cwd"])


def lines(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def outputs(deployment: Deployment) -> list[str]:
    return [str(item["output"]) for item in deployment.model.requests[-1].body["input"] if "output" in item]


def test_a_hook_that_dies_with_its_worker_runs_again(deploy: Callable[..., Deployment], tmp_path: Path) -> None:
    deployment, client = with_hook(deploy, tmp_path, HELD)
    first = deployment.add_worker()
    thread_id, cwd = start_thread(client)
    turn_id = start_turn(client, thread_id, command("echo ran >> log"))
    until(lambda: lines(cwd / "seen") == 1, seconds=SECONDS)

    first.kill()
    until(lambda: not processes.is_running(MARK), seconds=SECONDS)
    deployment.add_worker()

    assert wait_for_end(client, turn_id, SECONDS)["status"] == "completed"
    assert (lines(cwd / "seen"), lines(cwd / "log")) == (2, 0)
    assert "not this" in outputs(deployment)[0]
    frames = of_thread(client.received, thread_id)
    assert [frame["method"] for frame in frames if "run" in frame["params"]] == [
        "hook/started",
        "hook/started",
        "hook/completed",
    ]


@pytest.mark.parametrize(("point", "runs", "calls"), [("before_hook_decision", 2, 0), ("before_begun", 1, 1)])
def test_a_stored_decision_holds_for_the_next_worker(
    deploy: Callable[..., Deployment], tmp_path: Path, point: str, runs: int, calls: int
) -> None:
    deployment, client = with_hook(deploy, tmp_path, ONCE)
    trigger = tmp_path / "trigger"
    trigger.touch()
    for _ in range(2):
        deployment.add_worker(fault=f"{point}:kill@{trigger}")
    thread_id, cwd = start_thread(client)

    turn_id = start_turn(client, thread_id, command("echo ran >> log"))

    assert wait_for_end(client, turn_id, SECONDS)["status"] == "completed"
    assert not trigger.exists()
    assert (lines(cwd / "seen"), lines(cwd / "log")) == (runs, calls)
    assert ("not this" in outputs(deployment)[0]) is (calls == 0)
    check_order(of_thread(client.received, thread_id))
