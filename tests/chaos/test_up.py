"""All processes of `threadhouse up` are killed during a turn and started again: the turn completes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.watched import UNKNOWN
from tests.support.deployment import Up
from tests.support.model_server import ModelServer
from tests.support.protocol_client import ProtocolClient, connect
from tests.support.turns import command, is_delta, is_end, run_turn, start_turn, stored_turn, wait_for_end
from tests.support.wait import until


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def up(tmp_path: Path, model: ModelServer) -> Iterator[Up]:
    server = Up(tmp_path / "home", model)
    server.start()
    yield server
    if server.process.is_running:
        server.kill_tree()
    print(server.process.log_tail())


def connected(up: Up) -> ProtocolClient:
    client = connect(up.url.replace("http", "ws") + "/")
    client.initialize()
    return client


def worker_logs(up: Up) -> str:
    logs = up.process.log.parent / "logs"
    return "".join(file.read_text() for file in logs.glob("worker-*.log"))


@pytest.mark.parametrize(
    ("script", "unknown"),
    [
        ("[[say half a ]][[pause up]][[say message]]" + command("echo ran >> probe; echo fine") + "[[say end]]", False),
        (command("echo ran >> probe; echo working; sleep 600") + "[[say end]]", True),
    ],
    ids=["mid_stream", "mid_command"],
)
def test_turn_completes_after_a_kill_of_all_processes(up: Up, model: ModelServer, script: str, unknown: bool) -> None:
    first = connected(up)
    up.process.wait_until(lambda: "lease acquired" in worker_logs(up))  # one of the workers schedules
    thread = first.request("thread/start")["thread"]
    turn_id = start_turn(first, thread["id"], script)
    first.wait_for(is_delta)

    up.kill_tree()
    first.wait_until_lost()
    model.release("up")
    up.start()
    second = connected(up)
    resumed = second.request("thread/resume", {"threadId": thread["id"]})["thread"]["turns"]

    assert [turn["id"] for turn in resumed] == [turn_id]
    if resumed[0]["status"] == "inProgress":
        assert wait_for_end(second, turn_id)["status"] == "completed"
        assert sum(is_end(frame, turn_id) for frame in second.received) == 1
    stored = stored_turn(second, thread["id"], turn_id)
    assert stored["status"] == "completed"
    ran = next(item for item in stored["items"] if item["type"] == "commandExecution")
    assert ran["status"] == ("failed" if unknown else "completed")
    outputs = [item["output"] for item in model.requests[-1].body["input"] if "output" in item]
    assert (UNKNOWN in outputs[0]) == unknown
    assert (Path(thread["cwd"]) / "probe").read_text() == "ran\n"
    assert run_turn(second, thread["id"], "[[say next]]")["status"] == "completed"
    second.drop()


@pytest.mark.parametrize("ended", ["worker", "tree"])
def test_a_worker_that_is_started_again_continues_its_turns_without_waiting_for_leases(
    tmp_path: Path, model: ModelServer, ended: str
) -> None:
    up = Up(tmp_path / "home", model, lease_seconds=3600, renewal_seconds=600)
    up.start()
    client = connected(up)
    thread = client.request("thread/start")["thread"]
    turn_id = start_turn(client, thread["id"], "[[say half a ]][[pause up]][[say message]]")
    client.wait_for(is_delta)

    if ended == "worker":
        [worker] = [pid for pid in up.tree() if b"\0worker\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(worker, signal.SIGKILL)
        model.release("up")
    else:
        up.kill_tree()
        client.wait_until_lost()
        model.release("up")
        up.start()
        client = connected(up)
        client.request("thread/resume", {"threadId": thread["id"]})

    until(lambda: stored_turn(client, thread["id"], turn_id)["status"] != "inProgress")
    assert stored_turn(client, thread["id"], turn_id)["status"] == "completed"
    assert "1 of its turns and terminals are taken over" in worker_logs(up)
    client.drop()
    up.kill_tree()
