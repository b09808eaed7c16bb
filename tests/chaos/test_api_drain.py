"""SIGTERM to an API process while turns run: its clients come back on another one and miss nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from api.delivery.close_codes import RESTARTING
from tests.support.bridge import spawn
from tests.support.cuttable import Wire
from tests.support.deployment import Deployment
from tests.support.event_stream import follow
from tests.support.protocol_client import RpcError
from tests.support.turns import (
    check_order,
    command,
    deltas,
    is_delta,
    is_end,
    of_thread,
    start_thread,
    start_turn,
    stored_turn,
    wait_for_end,
)
from tests.support.wait import until

COMMAND = command("echo out; sleep 0.2; echo more")
SCRIPT = f"[[reason Hm.]][[say n=20 delay_ms=10]]{COMMAND}[[say n=60 delay_ms=20]]"
END = "[[pause {}]][[say n=20 delay_ms=20]]"  # of the script
EXIT_SECONDS = 60.0


def check_follower(frames: list[dict[str, Any]], turn: dict[str, Any]) -> None:
    """Assert that a client got every stored item, every delta and one end."""
    assert sum(is_end(frame, turn["id"]) for frame in frames) == 1
    assert list(check_order(frames).completed.values()) == turn["items"]
    for item in turn["items"]:
        if item["type"] == "agentMessage":
            assert deltas(frames, item["id"]) == item["text"]
        if item["type"] == "commandExecution":
            assert deltas(frames, item["id"]) == item["aggregatedOutput"]


def test_clients_of_a_node_that_shuts_down_come_back_on_another_without_a_gap(
    deploy: Callable[..., Deployment], times: range
) -> None:
    deployment = deploy(api=2, workers=1)
    nodes = [url.removeprefix("http://") for url in deployment.urls]

    for number in times:
        leaving, staying = number % 2, 1 - number % 2
        with Wire(nodes[leaving], nodes[staying]) as wire, spawn(wire.url) as bridge:
            bridge.client.initialize(experimentalApi=True)
            thread_id = start_thread(bridge.client)
            stream = follow(wire.url, thread_id, reconnects=True)
            socket = deployment.connect(leaving)
            cursor = socket.send_request("thread/resume", {"threadId": thread_id})
            socket.result(cursor)
            turn_id = start_turn(bridge.client, thread_id, SCRIPT + END.format(f"leaving{number}"))
            position = (number * 13) % 60
            socket.wait_for(
                lambda frame, at=position: is_delta(frame, f"w{at % 20} ") if at < 20 else is_delta(frame, f"w{at} ")
            )

            deployment.api[leaving].signal(signal.SIGTERM)

            assert socket.wait_until_lost().code == RESTARTING
            deployment.model.release(f"leaving{number}")  # so that the turn did not end before its node
            seen = of_thread(socket.received, thread_id)
            again = deployment.connect(staying)
            last = next(frame["eventId"] for frame in reversed(seen) if "eventId" in frame)
            again.request("thread/resume", {"threadId": thread_id, "excludeTurns": True, "afterEventId": last})
            wait_for_end(again, turn_id)
            wait_for_end(bridge.client, turn_id)
            stream.wait_for(lambda event: is_end(event.frame, turn_id))  # noqa: B023
            assert deployment.api[leaving].wait(EXIT_SECONDS) == 0
            stored = stored_turn(again, thread_id, turn_id)
            assert stored["status"] == "completed"
            check_follower(seen + of_thread(again.received, thread_id), stored)
            check_follower(of_thread(bridge.client.received, thread_id), stored)
            check_follower(of_thread(stream.frames, thread_id), stored)
            assert stream.breaks >= 1
            again.drop()
            stream.cut()
        deployment.api[leaving].start()
        deployment.api[leaving].wait_until(deployment.http(leaving).is_ready)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_requests_in_flight_are_answered_while_a_node_shuts_down(
    deploy: Callable[..., Deployment], tmp_path_factory: pytest.TempPathFactory
) -> None:
    deployment = deploy(api=2, workers=1, server={"drain_seconds": 60})
    client, other = deployment.connect(0), deployment.connect(1)
    folder = tmp_path_factory.mktemp("work")  # not in the server's home, which commands do not see
    line = "touch begun; until [ -e go ]; do sleep 0.02; done; echo done"
    params = {"command": ["/bin/sh", "-c", line], "cwd": str(folder), "timeoutMs": 60_000}
    policy = {"type": "dangerFullAccess"}
    request_id = client.send_request("command/exec", {**params, "sandboxPolicy": policy})
    until(lambda: (folder / "begun").exists() or any(frame.get("id") == request_id for frame in client.received))

    deployment.api[0].signal(signal.SIGTERM)
    until(lambda: not deployment.http(0).is_ready())

    with pytest.raises(RpcError, match="connect again"):
        client.request("thread/list")
    assert deployment.http(1).is_ready()
    (folder / "go").touch()
    assert client.result(request_id)["stdout"] == "done\n"
    assert client.wait_until_lost().code == RESTARTING
    assert deployment.api[0].wait(EXIT_SECONDS) == 0
    assert other.request("thread/list")["data"] == []
