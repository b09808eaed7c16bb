"""Each mix of API processes and workers of two versions works as one server, on the newest schema."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.queue import QUEUES
from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.protocol_client import ProtocolClient
from tests.support.releases import Release
from tests.support.turns import (
    check_order,
    command,
    is_delta,
    of_thread,
    run_turn,
    start_thread,
    start_turn,
    stored_turn,
    wait_for_end,
)
from tests.support.wait import until
from tests.upgrade.moving_follower import MovingFollower

OLD_API, NEW_API = 0, 1
WORKERS = {"old": (True, False), "new": (False, True), "both": (True, True)}  # → which of the two run
APPROVAL = "item/commandExecution/requestApproval"
PATCH = "*** Begin Patch\n*** Add File: new.txt\n+hello\n*** End Patch"
SCRIPT = f"[[reason Hm.]][[say Now.]]{command('echo out; echo more')}[[patch {PATCH}]][[say n=40 delay_ms=5]]"
TYPES = ["userMessage", "reasoning", "agentMessage", "commandExecution", "fileChange", "agentMessage"]


@pytest.fixture(scope="module")
def both_apis(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One API process and one worker of each version. The database was migrated while those of the release ran."""
    home = tmp_path_factory.mktemp("mix")
    with Deployment(home, "postgres", release=release, queues=",".join(QUEUES), server=STEADY) as deployment:
        deployment.migrate()
        assert deployment.add_api() == NEW_API
        deployment.add_worker()
        yield deployment


@pytest.fixture(scope="module", params=WORKERS)
def workers(request: pytest.FixtureRequest, both_apis: Deployment) -> str:
    """Which workers run: only those of the release, only those of this version, or both."""
    name = str(request.param)
    for worker, runs in zip(both_apis.workers, WORKERS[name], strict=True):
        if runs and not worker.is_running:
            both_apis.start_worker(worker)
        elif worker.is_running and not runs:
            worker.stop()
    return name


@pytest.fixture
def deployment(both_apis: Deployment, workers: str) -> Iterator[Deployment]:
    with logs_shown_on_failure(both_apis):
        yield both_apis


@pytest.fixture(params=[(OLD_API, NEW_API), (NEW_API, OLD_API)], ids=["old_to_new", "new_to_old"])
def nodes(request: pytest.FixtureRequest) -> tuple[int, int]:
    """The API process that gets a request, and the one that gets what follows."""
    first, second = request.param
    return first, second


def test_followers_of_both_apis_receive_the_same_events(deployment: Deployment, nodes: tuple[int, int]) -> None:
    first, second = nodes
    followers = [MovingFollower(deployment, first) for _ in range(4)]
    other = deployment.connect(second)
    for follower in followers:
        other.request("thread/resume", {"threadId": follower.id})
        start_turn(follower.client, follower.id, SCRIPT)

    for number, follower in enumerate(followers):
        if number % 2:
            follower.wait_for("item/completed", "commandExecution")
            follower.move(second)
        follower.wait_for("turn/completed")
        assert [item["type"] for item in follower.check()] == TYPES
        until(lambda at=follower: len(of_thread(other.received, at.id)) >= len(at.frames))  # type: ignore[misc]
        assert of_thread(other.received, follower.id) == follower.frames
        assert follower.streamed == follower.frames


@pytest.mark.parametrize("decision", ["accept", "decline"])
def test_an_approval_is_answered_through_the_other_version(
    deployment: Deployment, nodes: tuple[int, int], decision: str
) -> None:
    asker, other = (deployment.connect(node) for node in nodes)
    thread = asker.request("thread/start", {"approvalPolicy": "untrusted"})["thread"]
    turn_id = start_turn(asker, thread["id"], command("echo ran >> probe") + "[[say fine]]")
    asked = asker.wait_for_method(APPROVAL)

    other.request("thread/resume", {"threadId": thread["id"]})
    other.wait_for(lambda frame: frame.get("method") == APPROVAL and frame["id"] == asked["id"])
    other.send({"id": asked["id"], "result": {"decision": decision}})

    assert wait_for_end(asker, turn_id)["status"] == "completed"
    ran = stored_turn(other, thread["id"], turn_id)["items"][1]
    assert ran["status"] == ("completed" if decision == "accept" else "declined")
    assert (Path(thread["cwd"]) / "probe").exists() == (decision == "accept")
    check_order(of_thread(asker.received, thread["id"]))


def test_input_and_an_interrupt_reach_a_turn_through_the_other_version(
    deployment: Deployment, nodes: tuple[int, int], workers: str
) -> None:
    first, second = (deployment.connect(node) for node in nodes)
    thread_id = start_thread(first)
    pause = f"{workers}-{nodes}"
    turn_id = start_turn(first, thread_id, f"[[say long ]][[pause {pause}]]")
    first.wait_for(lambda frame: is_delta(frame, "long"))

    assert start_turn(second, thread_id, f"[[say short ]][[pause {pause}-again]]") == turn_id
    first.wait_for(lambda frame: is_delta(frame, "short"))
    second.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})

    assert wait_for_end(first, turn_id)["status"] == "interrupted"
    deployment.model.wait_hung_up(f"{pause}-again", 60)
    items = stored_turn(second, thread_id, turn_id)["items"]
    assert [item["type"] for item in items] == ["userMessage", "userMessage"]
    assert run_turn(first, thread_id, "[[say next]]")["status"] == "completed"


def test_other_kinds_of_turns_complete(deployment: Deployment, nodes: tuple[int, int]) -> None:
    client = deployment.connect(nodes[0])
    thread_id = start_thread(client)
    run_turn(client, thread_id, "remember 42")
    review = {"target": {"type": "custom", "instructions": "[[say Fine.]]"}, "delivery": "inline"}

    kinds = [
        next_turn(client, thread_id, "thread/compact/start"),
        next_turn(client, thread_id, "thread/shellCommand", command="echo one"),
        next_turn(client, thread_id, "review/start", **review),
    ]

    assert [[item["type"] for item in turn["items"]] for turn in kinds] == [
        ["contextCompaction"],
        ["commandExecution"],
        ["enteredReviewMode", "userMessage", "agentMessage", "exitedReviewMode"],
    ]
    assert stored_turn(deployment.connect(nodes[1]), thread_id, kinds[2]["id"]) == kinds[2]


def next_turn(client: ProtocolClient, thread_id: str, method: str, **params: Any) -> dict[str, Any]:
    """Start a turn by a method and wait for its end. Return the stored turn."""
    start = len(client.received)
    client.request(method, {"threadId": thread_id, **params})
    turn_id = client.wait_for_method("turn/started", after=start)["params"]["turn"]["id"]
    assert wait_for_end(client, turn_id)["status"] == "completed"
    return stored_turn(client, thread_id, turn_id)


def test_workers_carry_out_requests_about_workspaces(deployment: Deployment, nodes: tuple[int, int]) -> None:
    client = deployment.connect(nodes[0])
    cwd = client.request("thread/start")["thread"]["cwd"]
    data = base64.b64encode(b"one\n" * 10_000).decode()

    assert client.request("command/exec", {"command": ["pwd"], "cwd": cwd})["stdout"] == f"{cwd}\n"
    client.request("fs/writeFile", {"path": f"{cwd}/a.txt", "dataBase64": data})
    ran = client.request("command/exec", {"command": ["wc", "-l", "a.txt"], "cwd": cwd})
    streamed = {"processId": "cat", "streamStdin": True, "streamStdoutStderr": True, "timeoutMs": 60_000}
    exec_id = client.send_request("command/exec", {"command": ["cat"], **streamed})
    client.request("command/exec/write", {"processId": "cat", "deltaBase64": data, "closeStdin": True})

    assert ran["stdout"] == "10000 a.txt\n"
    assert client.result(exec_id)["exitCode"] == 0
    output = [frame["params"] for frame in client.received if frame.get("method") == "command/exec/outputDelta"]
    assert b"".join(base64.b64decode(delta["deltaBase64"]) for delta in output) == b"one\n" * 10_000
    found = client.request("fuzzyFileSearch", {"query": "a.txt", "roots": [cwd], "cancellationToken": None})
    assert [file["path"] for file in found["files"]] == ["a.txt"]


def test_a_thread_of_one_version_is_used_by_the_other(deployment: Deployment, nodes: tuple[int, int]) -> None:
    first, second = (deployment.connect(node) for node in nodes)
    thread_id = start_thread(first)
    turn = run_turn(first, thread_id, SCRIPT)
    first.request("thread/name/set", {"threadId": thread_id, "name": "a name"})
    first.request("thread/goal/set", {"threadId": thread_id, "objective": "a goal"})
    first.request("thread/inject_items", {"threadId": thread_id, "items": [message("injected")]})

    assert second.request("thread/goal/get", {"threadId": thread_id})["goal"]["objective"] == "a goal"
    assert stored_turn(second, thread_id, turn["id"]) == stored_turn(first, thread_id, turn["id"])
    second.request("thread/resume", {"threadId": thread_id})
    assert run_turn(second, thread_id, "[[say next]]")["status"] == "completed"
    assert "injected" in json.dumps(deployment.model.requests[-1].body["input"])
    forked = second.request("thread/fork", {"threadId": thread_id})["thread"]
    assert [one["status"] for one in forked["turns"]] == ["completed"] * 2
    second.request("thread/archive", {"threadId": thread_id})
    first.request("thread/unarchive", {"threadId": thread_id})
    assert first.request("thread/read", {"threadId": thread_id})["thread"]["name"] == "a name"
    second.request("thread/delete", {"threadId": thread_id})
    until(lambda: not first.request("thread/list", {"searchTerm": thread_id})["data"])
    assert run_turn(first, resumed(first, forked["id"]), "[[say on]]")["status"] == "completed"


def message(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def resumed(client: ProtocolClient, thread_id: str) -> str:
    client.request("thread/resume", {"threadId": thread_id})
    return thread_id
