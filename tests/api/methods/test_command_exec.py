"""command/exec and other worker calls, seen from the API: refusals, the call to the worker, its output and result."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from api.delivery.connection import MAX_SLOW_REQUESTS
from shared.events.worker_calls import MAX_EARLY_MESSAGES, WorkerReply
from tests.builders import Backend, Client
from tests.support.wait import until

ALICE = "alice"


def answer_to(backend: Backend, index: int = -1) -> WorkerReply:
    """Return the worker's side of a call; by default the newest."""
    return WorkerReply(backend.services.redis, backend.calls[index][0])


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
def test_contradictory_params_are_refused_without_calling_a_worker(
    backend: Backend, params: dict[str, Any], code: int, message: str
) -> None:
    error = backend.connect().error("command/exec", {"command": ["true"], **params})

    assert error["code"] == code
    assert message in error["message"]
    assert backend.calls == []


def test_a_hosted_user_cannot_exceed_what_the_server_allows(backend: Backend) -> None:
    client = backend.connect(ALICE)
    bob = str(backend.config.server.workspaces_dir / "bob")

    forbidden: list[dict[str, Any]] = [
        {"sandboxPolicy": {"type": "dangerFullAccess"}},
        {"permissionProfile": ":danger-full-access"},
        {"sandboxPolicy": {"type": "workspaceWrite", "writableRoots": ["/"]}},
        {"cwd": bob},
        {"cwd": "/"},
    ]
    for params in forbidden:
        assert client.error("command/exec", {"command": ["true"], **params})["code"] == -32602, params
    requests: list[tuple[str, dict[str, Any]]] = [
        ("fs/readFile", {"path": f"{bob}/file"}),
        ("fs/writeFile", {"path": f"{bob}/file", "dataBase64": ""}),
        ("fs/copy", {"sourcePath": bob, "destinationPath": bob}),
        ("fuzzyFileSearch", {"query": "a", "roots": [bob]}),
        ("fuzzyFileSearch/sessionStart", {"sessionId": "s", "roots": [bob]}),
        ("gitDiffToRemote", {"cwd": bob}),
    ]
    for method, params in requests:
        assert client.error(method, params)["code"] == -32602, method
    assert backend.calls == []


def test_files_cannot_be_written_when_only_the_read_only_mode_is_allowed(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(server={"sandbox_modes": ("read-only",)}, sandbox_mode="read-only")

    error = backend.connect().error("fs/writeFile", {"path": "/tmp/file", "dataBase64": ""})

    assert error["code"] == -32600
    assert backend.calls == []


def test_invalid_base64_is_refused(backend: Backend) -> None:
    error = backend.connect().error("fs/writeFile", {"path": "/tmp/file", "dataBase64": "no base64"})

    assert (error["code"], backend.calls) == (-32602, [])


def test_a_worker_is_called_with_the_servers_policy_and_the_callers_id(backend: Backend) -> None:
    client = backend.connect(ALICE)

    client.send(exec_request(100))

    _, kind, params, owner = backend.calls[0]
    assert (kind, owner) == ("command/exec", ALICE)
    assert params["sandbox_policy"]["type"] == "workspaceWrite"
    assert (params["timeout_ms"], params["output_bytes_cap"], params["cwd"]) == (10_000, 1 << 20, None)
    answer_to(backend).result({"exit_code": 0, "stdout": "x" * (1 << 20), "stderr": ""})
    assert reply(client, 100)["result"]["stdout"] == "x" * (1 << 20)


def test_output_is_sent_before_the_result_and_only_to_its_connection(backend: Backend) -> None:
    client, other = backend.connect(), backend.connect()
    client.send(exec_request(107, processId="p", streamStdoutStderr=True))
    worker = answer_to(backend)

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
def test_a_workers_error_becomes_the_requests_error(backend: Backend, name: str) -> None:
    from shared import errors

    kind = getattr(errors, name, KeyError)
    client = backend.connect()
    client.send(exec_request(100))

    answer_to(backend).error(kind("because"))

    error = reply(client, 100)["error"]
    expected = {"InvalidRequest": -32600, "NotFound": -32600, "CallLost": -32001, "KeyError": -32603}
    assert error["code"] == expected[name]
    assert error["message"] == ("internal error" if name == "KeyError" else "because")
    assert "data" not in error  # without data no client repeats what a worker may have done


def test_input_that_is_sent_before_the_command_starts_is_kept_for_it(backend: Backend) -> None:
    client = backend.connect()
    client.send(exec_request(100, processId="p", streamStdin=True))
    for _ in range(MAX_EARLY_MESSAGES):
        client.call("command/exec/write", {"processId": "p", "deltaBase64": base64.b64encode(b"x").decode()})
    full = client.error("command/exec/write", {"processId": "p", "closeStdin": True})
    pubsub = backend.services.redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    pubsub.subscribe("worker:w")
    pubsub.get_message(timeout=1)

    answer_to(backend).begin("w")

    received: list[object] = []

    def all_received() -> bool:
        message = pubsub.get_message(timeout=0.01)
        if message is not None:
            received.append(message)
        return len(received) == MAX_EARLY_MESSAGES

    until(all_received)
    assert full["code"] == -32001
    answer_to(backend).result({"exit_code": 0, "stdout": "", "stderr": ""})
    reply(client, 100)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("command/exec/write", {"processId": "p", "closeStdin": True}),
        ("command/exec/resize", {"processId": "p", "size": {"rows": 5, "cols": 5}}),
    ],
)
def test_input_and_resizing_need_a_command_that_was_started_for_them(
    backend: Backend, method: str, params: dict[str, Any]
) -> None:
    client = backend.connect()
    unknown = client.error(method, params)
    client.send(exec_request(100, processId="p", streamStdoutStderr=True))

    refused = client.error(method, params)

    assert unknown["message"] == "no active command/exec for process id 'p'"
    assert "command/exec" in refused["message"]
    assert refused["message"] != unknown["message"]
    answer_to(backend).result({"exit_code": 0, "stdout": "", "stderr": ""})
    reply(client, 100)


def test_the_number_of_slow_requests_per_connection_is_limited(backend: Backend) -> None:
    client = backend.connect()
    for number in range(MAX_SLOW_REQUESTS):
        client.send(exec_request(1000 + number))

    client.send(exec_request(9999))

    assert reply(client, 9999)["error"]["code"] == -32001
    assert len(backend.calls) == MAX_SLOW_REQUESTS
    client.call("thread/loaded/list")
    client.connection.close(1000, "")
    until(lambda: client.connection.slow_requests.acquire(blocking=False))


@pytest.mark.parametrize("method", ["fs/watch", "fs/unwatch", "process/spawn", "process/kill"])
def test_a_method_refused_by_design_gives_a_reason(backend: Backend, method: str) -> None:
    error = backend.connect().error(method, {})

    assert error["code"] == -32601
    assert "is not served" in error["message"]
