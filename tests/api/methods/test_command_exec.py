"""command/exec and other calls, as far as the API goes: what is refused, what a worker is asked, what comes back."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from api.connection import MAX_SLOW_REQUESTS
from shared.calls import MAX_EARLY_MESSAGES, Answer
from tests.builders import Client, House
from tests.support.wait import until

ALICE = "alice"


def answer_to(house: House, place: int = -1) -> Answer:
    """A worker's end of a call that was asked for."""
    return Answer(house.services.redis, house.calls[place][0])


def exec_request(request_id: int, **params: Any) -> dict[str, Any]:
    return {"id": request_id, "method": "command/exec", "params": {"command": ["true"], **params}}


def reply(client: Client, request_id: int) -> dict[str, Any]:
    return client.wait_for(lambda frame: frame.get("id") == request_id and "method" not in frame)


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({"command": []}, -32600, "command must not be empty"),
        ({"command": ["a\0b"]}, -32602, "NUL"),
        ({"tty": True}, -32600, "requires a client-supplied processId"),
        ({"streamStdin": True}, -32600, "requires a client-supplied processId"),
        ({"size": {"rows": 1, "cols": 1}}, -32602, "size requires tty"),
        ({"processId": "p", "tty": True, "size": {"rows": 0, "cols": 1}}, -32602, "rows"),
        ({"timeoutMs": 5, "disableTimeout": True}, -32602, "timeoutMs"),
        ({"timeoutMs": -1}, -32602, "timeoutMs"),
        ({"outputBytesCap": 5, "disableOutputCap": True}, -32602, "outputBytesCap"),
        ({"outputBytesCap": -1}, -32602, "outputBytesCap"),
        ({"cwd": "somewhere"}, -32602, "cwd: expected an absolute path"),
        ({"cwd": "/a/../b"}, -32602, "cwd: expected an absolute path"),
        ({"env": {"A=B": "c"}}, -32602, "env"),
        ({"env": {"A": 1}}, -32602, "expected a string"),
        ({"sandboxPolicy": {"type": "readOnly"}, "permissionProfile": ":workspace"}, -32602, "combined"),
        ({"sandboxPolicy": {"type": "none"}}, -32602, "unknown variant"),
        ({"sandboxPolicy": {"type": ["readOnly"]}}, -32602, "unknown variant"),
        ({"permissionProfile": "mine"}, -32602, "permissionProfile"),
    ],
)
def test_what_does_not_go_together_is_refused_and_no_worker_asked(
    house: House, params: dict[str, Any], code: int, message: str
) -> None:
    error = house.connect().error("command/exec", {"command": ["true"], **params})

    assert error["code"] == code
    assert message in error["message"]
    assert house.calls == []


def test_a_user_with_a_key_asks_for_no_more_than_the_server_allows(house: House) -> None:
    client = house.connect(ALICE)
    bob = str(house.config.server.workspaces_dir / "bob")

    beyond: list[dict[str, Any]] = [
        {"sandboxPolicy": {"type": "dangerFullAccess"}},
        {"permissionProfile": ":danger-full-access"},
        {"sandboxPolicy": {"type": "workspaceWrite", "writableRoots": ["/"]}},
        {"cwd": bob},
        {"cwd": "/"},
    ]
    for params in beyond:
        assert client.error("command/exec", {"command": ["true"], **params})["code"] == -32602, params
    asked: list[tuple[str, dict[str, Any]]] = [
        ("fs/readFile", {"path": f"{bob}/file"}),
        ("fs/writeFile", {"path": f"{bob}/file", "dataBase64": ""}),
        ("fs/copy", {"sourcePath": bob, "destinationPath": bob}),
        ("fuzzyFileSearch", {"query": "a", "roots": [bob]}),
        ("fuzzyFileSearch/sessionStart", {"sessionId": "s", "roots": [bob]}),
        ("gitDiffToRemote", {"cwd": bob}),
    ]
    for method, params in asked:
        assert client.error(method, params)["code"] == -32602, method
    assert house.calls == []


def test_where_every_command_only_reads_no_file_is_written(open_house: Callable[..., House]) -> None:
    house = open_house(server={"sandbox_modes": ("read-only",)}, sandbox_mode="read-only")

    error = house.connect().error("fs/writeFile", {"path": "/tmp/file", "dataBase64": ""})

    assert error["code"] == -32600
    assert house.calls == []


def test_bytes_that_are_no_base64_are_refused(house: House) -> None:
    error = house.connect().error("fs/writeFile", {"path": "/tmp/file", "dataBase64": "no base64"})

    assert (error["code"], house.calls) == (-32602, [])


def test_the_worker_is_asked_under_the_server_s_policy_and_for_the_one_who_asks(house: House) -> None:
    client = house.connect(ALICE)

    client.send(exec_request(100))

    _, kind, params, owner = house.calls[0]
    assert (kind, owner) == ("command/exec", ALICE)
    assert params["sandbox_policy"]["type"] == "workspaceWrite"
    assert (params["timeout_ms"], params["output_bytes_cap"], params["cwd"]) == (10_000, 1 << 20, None)
    answer_to(house).result({"exit_code": 0, "stdout": "x" * (1 << 20), "stderr": ""})
    assert reply(client, 100)["result"]["stdout"] == "x" * (1 << 20)


def test_output_goes_before_the_result_and_to_its_connection_only(house: House) -> None:
    client, other = house.connect(), house.connect()
    client.send(exec_request(107, processId="p", streamStdoutStderr=True))
    worker = answer_to(house)

    worker.begin("worker")
    worker.output({"stream": "stdout", "delta_base64": "aGk=", "cap_reached": False})
    worker.result({"exit_code": 0, "stdout": "", "stderr": ""})

    assert reply(client, 107)["result"]["exitCode"] == 0
    delta = client.frames[-2]
    assert delta["method"] == "command/exec/outputDelta"
    assert delta["params"] == {"processId": "p", "stream": "stdout", "deltaBase64": "aGk=", "capReached": False}
    other.call("thread/loaded/list")
    assert other.methods() == []


@pytest.mark.parametrize("name", ["InvalidRequest", "NotFound", "CallLost", "KeyError"])
def test_an_error_of_the_worker_is_told_as_one_of_ours(house: House, name: str) -> None:
    from shared import errors

    kind = getattr(errors, name, KeyError)
    client = house.connect()
    client.send(exec_request(100))

    answer_to(house).error(kind("because"))

    error = reply(client, 100)["error"]
    expected = {"InvalidRequest": -32600, "NotFound": -32600, "CallLost": -32001, "KeyError": -32603}
    assert error["code"] == expected[name]
    assert error["message"] == ("internal error" if name == "KeyError" else "because")
    assert "data" not in error  # nobody is asked to repeat what may have been carried out


def test_what_is_written_before_the_command_has_begun_waits_for_it(house: House) -> None:
    client = house.connect()
    client.send(exec_request(100, processId="p", streamStdin=True))
    for _ in range(MAX_EARLY_MESSAGES):
        client.call("command/exec/write", {"processId": "p", "deltaBase64": base64.b64encode(b"x").decode()})
    full = client.error("command/exec/write", {"processId": "p", "closeStdin": True})
    pubsub = house.services.redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    pubsub.subscribe("worker:w")
    pubsub.get_message(timeout=1)

    answer_to(house).begin("w")

    heard: list[object] = []

    def hear() -> bool:
        message = pubsub.get_message(timeout=0.01)
        if message is not None:
            heard.append(message)
        return len(heard) == MAX_EARLY_MESSAGES

    until(hear)
    assert full["code"] == -32001
    answer_to(house).result({"exit_code": 0, "stdout": "", "stderr": ""})
    reply(client, 100)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("command/exec/write", {"processId": "p", "closeStdin": True}),
        ("command/exec/resize", {"processId": "p", "size": {"rows": 5, "cols": 5}}),
    ],
)
def test_a_command_without_input_or_terminal_takes_none(house: House, method: str, params: dict[str, Any]) -> None:
    client = house.connect()
    unknown = client.error(method, params)
    client.send(exec_request(100, processId="p", streamStdoutStderr=True))

    refused = client.error(method, params)

    assert unknown["message"] == "no active command/exec for process id 'p'"
    assert "command/exec" in refused["message"]
    assert refused["message"] != unknown["message"]
    answer_to(house).result({"exit_code": 0, "stdout": "", "stderr": ""})
    reply(client, 100)


def test_a_connection_has_so_many_slow_requests_at_once(house: House) -> None:
    client = house.connect()
    for number in range(MAX_SLOW_REQUESTS):
        client.send(exec_request(1000 + number))

    client.send(exec_request(9999))

    assert reply(client, 9999)["error"]["code"] == -32001
    assert len(house.calls) == MAX_SLOW_REQUESTS
    client.call("thread/loaded/list")
    client.connection.close(1000, "")
    until(lambda: client.connection.slow_requests.acquire(blocking=False))


@pytest.mark.parametrize("method", ["fs/watch", "fs/unwatch", "process/spawn", "process/kill"])
def test_what_is_refused_by_design_says_why(house: House, method: str) -> None:
    error = house.connect().error(method, {})

    assert error["code"] == -32601
    assert "is not served" in error["message"]
