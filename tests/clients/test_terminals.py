"""Background terminals beside the original's: what clients and models see of a command that outlives its turn."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from tests.support.deployment import Deployment
from tests.support.original_server import run_turn
from tests.support.protocol_client import ProtocolClient
from tests.support.wait import until

LIST, TERMINATE, CLEAN = (f"thread/backgroundTerminals/{name}" for name in ("list", "terminate", "clean"))
WAITS = "echo up; touch {0}.up; while [ ! -e {0} ]; do sleep 0.02; done; echo went"
GO = ("one", "two", "three")  # the file for which each command waits
VARIES = ("id", "itemId", "processId", "startedAtMs", "completedAtMs", "durationMs", "threadId", "turnId", "cwd")


def leave(go: str, **arguments: Any) -> str:
    call = {"cmd": WAITS.format(go), "login": False, "yield_time_ms": 300, **arguments}
    return f"[[tool exec_command {json.dumps(call)}]]"


def same(value: dict[str, Any]) -> dict[str, Any]:
    """Return the members that are the same on both servers."""
    return {key: inner for key, inner in value.items() if key not in VARIES}


def killed(item: dict[str, Any]) -> dict[str, Any]:
    """Return a command that was ended on request. On a busy machine the original gives its signal as the exit code."""
    assert item["exitCode"] in (-1, 128 + signal.SIGKILL)
    return {**item, "exitCode": -1}


def wait_for_end_of(client: ProtocolClient, item_id: str) -> dict[str, Any]:
    def is_end(frame: dict[str, Any]) -> bool:
        return frame.get("method") == "item/completed" and frame["params"]["item"]["id"] == item_id

    item: dict[str, Any] = client.wait_for(is_end)["params"]["item"]
    return item


def use(server: Deployment, client: ProtocolClient, cwd: Path) -> list[Any]:
    """Leave three commands running, then see how they end. Return what both servers are expected to say."""
    cwd.mkdir()
    params = {"cwd": str(cwd), "sandbox": "danger-full-access", "approvalPolicy": "never"}
    thread_id = client.request("thread/start", params)["thread"]["id"]
    told: list[Any] = []
    reports: list[str] = []
    for go in GO:
        frames = run_turn(client, thread_id, leave(go) + f"[[say Left {go}.]]")
        reports.append(last_output(server))
        begun = [frame["params"]["item"] for frame in frames if frame.get("method") == "item/started"]
        told += [{**same(item), "processId": type(item["processId"])} for item in begun if "command" in item]
        told += [frame["params"]["item"]["id"] for frame in frames if is_command_end(frame)]  # none
    listed = client.request(LIST, {"threadId": thread_id})
    by_file = {go: one for one in listed["data"] for go in GO if one["command"] == WAITS.format(go)}
    first, second, third = (by_file[go] for go in GO)  # the original's order is not always that of their beginning
    told += [same(first), same(second), same(third), listed["nextCursor"]]

    until(lambda: all((cwd / f"{go}.up").exists() for go in GO))
    frames = run_turn(client, thread_id, f'[[tool write_stdin {{"session_id": {first["processId"]}, "chars": ""}}]]')
    interactions = [frame["params"] for frame in frames if frame.get("method", "").endswith("/terminalInteraction")]
    told += [
        (same(one), one["itemId"] == first["itemId"], one["processId"] == first["processId"]) for one in interactions
    ]
    report = last_output(server)
    told.append(f"\nProcess running with session ID {first['processId']}\n" in report)
    told.append((printed(reports[0]) + printed(report)).strip())  # which of them has it depends on the machine's speed

    (cwd / "one").touch()
    told.append(same(wait_for_end_of(client, first["itemId"])))
    given = {"threadId": thread_id, "processId": second["processId"]}
    told.append(client.request(TERMINATE, given))
    told.append(same(killed(wait_for_end_of(client, second["itemId"]))))
    told += [client.request(TERMINATE, given), client.request(TERMINATE, {**given, "processId": "999999"})]
    told.append(client.request(CLEAN, {"threadId": thread_id}))
    told.append(same(killed(wait_for_end_of(client, third["itemId"]))))
    told.append(client.request(LIST, {"threadId": thread_id}))
    run_turn(client, thread_id, "[[say The next turn.]]")
    roles = [item.get("role") for item in server.model.requests[-1].body["input"][-2:]]
    told.append(roles)  # nothing was said to the model about the ends
    return told


def last_output(server: Deployment) -> str:
    """Return the newest output of a call that the model got."""
    received = server.model.requests[-1].body["input"]
    output: str = [item["output"] for item in received if item["type"] == "function_call_output"][-1]
    return output


def printed(report: str) -> str:
    """Return what the command had printed since the report before."""
    return report.partition("\nOutput:\n")[2]


def is_command_end(frame: dict[str, Any]) -> bool:
    return frame.get("method") == "item/completed" and frame["params"]["item"]["type"] == "commandExecution"


def test_a_command_that_outlives_its_turn_is_shown_and_ended_as_by_the_original(
    server: Deployment, original: ProtocolClient, ours: ProtocolClient, tmp_path: Path
) -> None:
    theirs = use(server, original, tmp_path / "original")
    own = use(server, ours, tmp_path / "ours")

    assert own == theirs
