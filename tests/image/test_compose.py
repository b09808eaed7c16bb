"""compose.yaml, run: a first start by the book, turns through the proxy, killed and stopped containers, and the end.

The tests are one story, in this order, with one deployment; each leaves it whole.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.image.container import Container
from tests.image.deployment import Deployment
from tests.support.model_server import ModelServer
from tests.support.protocol_client import ProtocolClient, connect
from tests.support.turns import command, run_turn, start_thread, start_turn, stored_turn, wait_for_end
from tests.support.wait import until

pytestmark = pytest.mark.timeout(400)  # a whole deployment starts, on a machine however busy

PROXY = "127.0.0.1:8765"
SANDBOXED = ["bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--unshare-all", "true"]
LEASE_DEADLINE_SECONDS = 180  # in which another worker has a turn whose worker is gone
REACH = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3)"


@pytest.fixture(scope="module")
def key(deployment: Deployment, model: ModelServer) -> str:
    """The key of a user, from the commands of README.md; then everything is started."""
    deployment.run("beat", "users", "add", "ada")
    created = deployment.run("beat", "keys", "create", "ada")
    deployment.up()
    return created.split()[-1]


@pytest.fixture
def client(key: str) -> Iterator[ProtocolClient]:
    opened = connected(key)
    yield opened
    opened.close()


def connected(key: str) -> ProtocolClient:
    opened = connect(f"ws://{PROXY}/", key)
    opened.initialize()
    return opened


def standing(deployment: Deployment, turn_id: str) -> dict[str, Any]:
    """Return what `threadhouse turn` says of a turn."""
    told: dict[str, Any] = json.loads(deployment.containers["beat"][0].exec("threadhouse", "turn", turn_id, "--json"))
    return told


def worker_of(deployment: Deployment, turn_id: str) -> Container:
    """Return the container that runs a turn."""
    name = str(standing(deployment, turn_id)["worker"])
    return next(container for container in deployment.containers["worker"] if container.hostname in name)


def test_everything_starts_and_is_well(deployment: Deployment, key: str) -> None:
    beat = deployment.containers["beat"][0]
    until(beat.is_running)
    until(lambda: not beat.problem("threadhouse", "doctor"), seconds=120)
    print(beat.exec("threadhouse", "doctor"))

    until(lambda: all(c.is_healthy() for c in deployment.all() if c.service.health))
    assert {name: len(containers) for name, containers in deployment.containers.items()}["api"] == 2
    assert [c.name for c in deployment.all() if c.has_ended()] == ["migrate-1"]


def test_no_process_of_ours_is_root(deployment: Deployment, key: str) -> None:
    for container in deployment.all():
        if container.service.image == "threadhouse" and not container.has_ended():
            owners = {int(uid) for uid in container.exec("sh", "-c", "stat -c %u /proc/[0-9]*").split()}
            assert owners <= {10001, 10002}, container.name


def test_limits_of_compose_hold_in_the_containers(deployment: Deployment, key: str) -> None:
    for container in deployment.containers["api"]:
        assert container.exec("sh", "-c", "ulimit -n").strip() == str(container.nofile)
    runner = deployment.containers["runner"][0]
    limit = "cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes 2>/dev/null || true"  # cgroup v2, or v1
    assert runner.exec("sh", "-c", limit).strip() == str(runner.service.memory_bytes)


def test_a_turn_through_the_proxy_runs_a_command_in_the_sandbox(client: ProtocolClient) -> None:
    thread_id = start_thread(client)
    shown = "id -u; pwd; ls -A; env; cat /proc/1/environ; git --version; rg --version | head -1"

    turn = run_turn(client, thread_id, command(f"{shown}; echo made > file; cat file"))

    assert turn["status"] == "completed"
    item = next(i for i in stored_turn(client, thread_id, turn["id"])["items"] if i["type"] == "commandExecution")
    print(f"\n{item['aggregatedOutput']}")
    assert item["exitCode"] == 0
    assert item["aggregatedOutput"].startswith("10002\n/srv/threadhouse/workspaces/")
    assert "made" in item["aggregatedOutput"]
    assert "postgres" not in item["aggregatedOutput"]


def test_requests_without_the_key_are_refused(key: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{PROXY}/v2/thread/list", data=b"{}", timeout=60)

    assert refused.value.code == 401


def test_the_tool_runner_reaches_neither_database_nor_redis(deployment: Deployment, key: str) -> None:
    runner = deployment.containers["runner"][0]
    for name, port in (("postgres", "5432"), ("redis", "6379"), ("api", "8765")):
        assert "not known" in runner.fails("python", "-c", REACH, name, port)
        address = deployment.containers[name][0].address
        assert "unreachable" in runner.fails("python", "-c", REACH, address, port)


def test_bubblewrap_needs_what_compose_allows_the_runner(deployment: Deployment, key: str) -> None:
    service = dataclasses.replace(
        deployment.project.services["runner"], restarts=False, health=None, entrypoint=("sleep",), command=("infinity",)
    )

    for missing in (None, "seccomp=unconfined", "systempaths=unconfined"):
        options = frozenset(service.security_opt - {missing})
        container = deployment.one_off(dataclasses.replace(service, security_opt=options))
        try:
            until(lambda started=container: started.is_running())
            if missing is None:
                container.exec(*SANDBOXED)
            else:
                print(f"\nwithout {missing}: {container.fails(*SANDBOXED).strip()}")
        finally:
            container.kill()


def test_a_turn_goes_on_when_its_api_node_is_killed(deployment: Deployment, model: ModelServer, key: str) -> None:
    before = turns_started(deployment)
    client = connected(key)
    thread_id = start_thread(client)
    turn_id = start_turn(client, thread_id, "[[say before]] [[pause api]] [[say after]]")
    model.wait_reached("api")

    until(lambda: turns_started(deployment) != before)
    killed = next(node for node, count in turns_started(deployment).items() if count > before[node])
    deployment.kill(killed)
    client.wait_until_lost()
    again = connected(key)
    again.request("thread/resume", {"threadId": thread_id})
    model.release("api")

    assert wait_for_end(again, turn_id)["status"] == "completed"
    deployment.start_again(killed)
    again.close()


def turns_started(deployment: Deployment) -> dict[Container, int]:
    """Return how many turns each API node has started, as its log says."""
    return {node: node.tail(100_000).count("method=turn/start ") for node in deployment.containers["api"]}


def test_a_turn_goes_on_when_its_worker_is_killed(
    deployment: Deployment, model: ModelServer, client: ProtocolClient
) -> None:
    thread_id = start_thread(client)
    turn_id = start_turn(client, thread_id, "[[say before]] [[pause worker]] [[say after]]")
    model.wait_reached("worker")

    killed = worker_of(deployment, turn_id)
    deployment.kill(killed)
    model.wait_reached("worker", LEASE_DEADLINE_SECONDS, count=2)
    model.release("worker")

    assert wait_for_end(client, turn_id)["status"] == "completed"
    assert killed.hostname not in str(standing(deployment, turn_id)["worker"])
    deployment.start_again(killed)


def test_a_turn_moves_to_another_worker_when_its_worker_drains(
    deployment: Deployment, model: ModelServer, client: ProtocolClient
) -> None:
    thread_id = start_thread(client)
    turn_id = start_turn(client, thread_id, "[[say before]] [[pause drain]] [[say after]]")
    model.wait_reached("drain")

    stopped = worker_of(deployment, turn_id)
    code, seconds = deployment.stop(stopped)
    model.wait_reached("drain", LEASE_DEADLINE_SECONDS, count=2)
    model.release("drain")

    print(f"\n{stopped.name}: exit code {code} after {seconds:.1f} of {stopped.service.grace_seconds:g} s")
    assert wait_for_end(client, turn_id)["status"] == "completed"
    assert code == 0
    deployment.start_again(stopped)


def test_a_tool_runner_that_ends_is_started_again(deployment: Deployment, client: ProtocolClient) -> None:
    runner = deployment.containers["runner"][0]
    starts = runner.starts
    init = runner.first_pid()
    for child in Path(f"/proc/{init}/task/{init}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    until(lambda: runner.starts > starts and runner.is_healthy())

    turn = run_turn(client, start_thread(client), command("echo again"))

    assert turn["status"] == "completed"


def test_everything_stops_in_time_while_clients_are_connected(deployment: Deployment, client: ProtocolClient) -> None:
    grace = {container.name: container.service.grace_seconds for container in deployment.all()}

    stopped = deployment.down()

    print(*(f"\n{name}: exit code {code} after {seconds:.1f} s" for name, (code, seconds) in stopped.items()))
    assert len(stopped) == len(grace) - 1  # migrate has ended before
    assert {name: code for name, (code, _) in stopped.items() if code} == {}
