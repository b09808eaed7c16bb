"""Background terminals over the wire: a command that goes on after its turn, seen and ended by a client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import order
from tests.support.deployment import Deployment
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.turns import deltas, events, of_thread, run_turn, start_turn, stored_turn, wait_for_end
from tests.support.wait import until

LIST, TERMINATE, CLEAN = (f"thread/backgroundTerminals/{name}" for name in ("list", "terminate", "clean"))
WAITS = "echo up; while [ ! -e go ]; do sleep 0.02; done; echo went"


def leave(line: str = WAITS, **arguments: Any) -> str:
    """Return a script step that starts a command and does not wait for its end."""
    return f"[[tool exec_command {json.dumps({'cmd': line, 'login': False, 'yield_time_ms': 250, **arguments})}]]"


def write(process_id: str, chars: str = "") -> str:
    """Return a script step that types into a command."""
    return f"[[tool write_stdin {json.dumps({'session_id': int(process_id), 'chars': chars})}]]"


def running(client: ProtocolClient, thread_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.request(LIST, {"threadId": thread_id})["data"]
    return found


def wait_for_end_of(client: ProtocolClient, item_id: str) -> dict[str, Any]:
    """Wait for item/completed of a command. Return its params."""

    def is_end(frame: dict[str, Any]) -> bool:
        return frame.get("method") == "item/completed" and frame["params"]["item"]["id"] == item_id

    params: dict[str, Any] = client.wait_for(is_end)["params"]
    return params


def test_a_command_goes_on_after_its_turn(deployment: Deployment) -> None:
    client = deployment.connect()
    thread = client.request("thread/start")["thread"]

    turn = run_turn(client, thread["id"], leave() + "[[say Left running.]]")
    (terminal,) = running(client, thread["id"])
    assert terminal == {
        "itemId": terminal["itemId"],
        "processId": terminal["processId"],
        "command": WAITS,
        "cwd": thread["cwd"],
        "osPid": None,
        "cpuPercent": None,
        "rssKb": None,
    }
    (Path(thread["cwd"]) / "go").touch()
    ended = wait_for_end_of(client, terminal["itemId"])

    assert ended["turnId"] == turn["id"]
    assert (ended["item"]["status"], ended["item"]["exitCode"]) == ("completed", 0)
    assert ended["item"]["aggregatedOutput"] == "up\nwent\n"
    assert running(client, thread["id"]) == []
    assert ended["item"] in stored_turn(client, thread["id"], turn["id"])["items"]
    begun = [frame["params"]["item"] for frame in client.received if frame.get("method") == "item/started"][1]
    assert (begun["processId"], begun["source"]) == (terminal["processId"], "unifiedExecStartup")
    order.check(events(of_thread(client.received, thread["id"])), sessions=True)


def test_a_client_that_comes_in_between_sees_the_command_and_ends_it(deployment: Deployment) -> None:
    client = deployment.connect()
    thread_id = client.request("thread/start")["thread"]["id"]
    run_turn(client, thread_id, leave() + "[[say Left running.]]")
    (terminal,) = running(client, thread_id)

    other = deployment.connect(1)
    other.request("thread/resume", {"threadId": thread_id})
    begun = other.wait_for(lambda frame: frame.get("method") == "item/started")["params"]
    assert begun["item"]["id"] == terminal["itemId"]
    other.wait_for(lambda frame: frame.get("params", {}).get("delta") == "up\n")
    given = {"threadId": thread_id, "processId": terminal["processId"]}
    assert other.request(TERMINATE, given) == {"terminated": True}
    assert other.request(TERMINATE, given) == {"terminated": False}
    wait_for_end_of(other, terminal["itemId"])
    assert other.request(TERMINATE, given) == {"terminated": False}
    assert other.request(TERMINATE, {"threadId": thread_id, "processId": "no number"}) == {"terminated": False}

    ended = wait_for_end_of(client, terminal["itemId"])["item"]
    assert (ended["status"], ended["exitCode"], ended["aggregatedOutput"]) == ("failed", -1, "up\n")


def test_turns_of_any_worker_type_into_a_command(deployment: Deployment) -> None:
    client = deployment.connect()
    thread_id = client.request("thread/start")["thread"]["id"]
    run_turn(client, thread_id, leave("while read -r name; do echo hi $name; done", tty=True) + "[[say Left.]]")
    (terminal,) = running(client, thread_id)

    for number in range(6):  # so that several worker processes take part
        turn = run_turn(client, thread_id, write(terminal["processId"], f"n{number}\n") + "[[say Typed.]]")
        assert turn["status"] == "completed"

    # The turns do not wait until the command has read what they typed.
    until(lambda: "hi n5" in deltas(of_thread(client.received, thread_id), terminal["itemId"]))
    client.request(CLEAN, {"threadId": thread_id})
    ended = wait_for_end_of(client, terminal["itemId"])["item"]
    assert [f"hi n{number}" in ended["aggregatedOutput"] for number in range(6)] == [True] * 6
    assert running(client, thread_id) == []


def test_all_commands_of_a_thread_end_with_it(deployment: Deployment) -> None:
    client = deployment.connect()
    thread = client.request("thread/start")["thread"]
    run_turn(client, thread["id"], leave() + "+" + leave() + "[[say Left running.]]")
    first, second = running(client, thread["id"])
    page = client.request(LIST, {"threadId": thread["id"], "limit": 1})
    assert page == {"data": [first], "nextCursor": first["itemId"]}
    rest = client.request(LIST, {"threadId": thread["id"], "limit": 1, "cursor": page["nextCursor"]})
    assert rest == {"data": [second], "nextCursor": None}

    client.request("thread/archive", {"threadId": thread["id"]})

    for terminal in (first, second):
        assert wait_for_end_of(client, terminal["itemId"])["item"]["status"] == "failed"


def test_an_interrupt_leaves_the_command_running(deployment: Deployment) -> None:
    client = deployment.connect()
    thread_id = client.request("thread/start")["thread"]["id"]
    turn_id = start_turn(client, thread_id, leave() + "[[pause terminals]][[say Never.]]")
    deployment.model.wait_reached("terminals", 60)

    client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})

    assert wait_for_end(client, turn_id)["status"] == "interrupted"
    (terminal,) = running(client, thread_id)
    client.request(CLEAN, {"threadId": thread_id})
    wait_for_end_of(client, terminal["itemId"])


@pytest.mark.parametrize("method", [LIST, TERMINATE, CLEAN])
def test_an_unknown_thread_is_an_error(deployment: Deployment, method: str) -> None:
    client = deployment.connect()

    with pytest.raises(RpcError, match="thread not found: 0190a0a0-0000-7000-8000-000000000000"):
        client.request(method, {"threadId": "0190a0a0-0000-7000-8000-000000000000", "processId": "1"})
