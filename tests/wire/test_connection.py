"""Misbehaving connections do not affect others, and users learn nothing about the threads of other users."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import websocket

from tests.support.deployment import DATABASES, Deployment, logs_shown_on_failure
from tests.support.event_stream import EventStream
from tests.support.protocol_client import DEADLINE_S, RpcError, connect, dial
from tests.support.turns import (
    check_order,
    is_end,
    of_thread,
    run_turn,
    start_thread,
    start_turn,
    stored_turn,
    wait_for_end,
)

MIB = 1024 * 1024


@pytest.fixture(params=["sqlite"])  # the database does not matter in these tests
def shared_deployment(sqlite_deployment: Deployment) -> Deployment:
    return sqlite_deployment


def test_a_client_that_stops_reading_for_a_while_receives_every_frame(deployment: Deployment) -> None:
    busy = deployment.connect(0)
    thread_id = start_thread(busy)
    url = deployment.urls[1].replace("http", "ws") + "/"
    slow = websocket.create_connection(url, suppress_origin=True, socket=dial(url, receive_buffer_bytes=16 * 1024))
    slow.settimeout(DEADLINE_S)
    for number, (method, params) in enumerate(
        [
            ("initialize", {"clientInfo": {"name": "slow", "version": "1"}}),
            ("thread/resume", {"threadId": thread_id}),
        ]
    ):
        slow.send(json.dumps({"id": number, "method": method, "params": params}))
        while json.loads(slow.recv()).get("id") != number:
            pass

    long = "x" * (MIB // 2)
    turns = [run_turn(busy, thread_id, f"[[say n=40 {long}]]")["id"] for _ in range(5)]
    frames: list[dict[str, Any]] = []
    while not frames or not is_end(frames[-1], turns[-1]):
        frames.append(json.loads(slow.recv()))
    slow.close()

    assert of_thread(frames, thread_id) == of_thread(busy.received, thread_id)
    assert sum(len(json.dumps(frame)) for frame in frames) > 8 * MIB
    check_order(of_thread(frames, thread_id))


@pytest.mark.parametrize(
    "frame",
    [
        "no JSON",
        "",
        '{"id": 1, "method": ',
        [],
        [{"id": 1, "method": "thread/list", "params": {}}],
        7,
        {"id": 1},
        {"id": None, "method": "thread/list", "params": {}},
        {"id": 1.5, "method": "thread/list", "params": {}},
        {"method": "no/such/notification"},
        {"id": 4711, "result": {"decision": "accept"}},
        {"id": 4711, "error": {"code": 1, "message": "no"}},
    ],
    ids=json.dumps,
)
def test_a_frame_that_is_not_a_request_is_ignored_and_the_connection_stays_open(
    deployment: Deployment, frame: Any
) -> None:
    client = deployment.connect()

    client.send(frame)
    client.send_bytes(b"\x00\xff")

    assert "data" in client.request("thread/list", {"limit": 1})
    assert [reply for reply in client.received if "error" in reply] == []


@pytest.mark.parametrize(
    ("method", "params", "code", "message"),
    [
        ("no/such", {}, -32601, "Invalid request: unknown variant `no/such`, expected one of `account/"),
        ("thread/start", {"cwd": 5}, -32602, "Invalid request: invalid type: integer `5`, expected a string"),
        ("turn/start", {"threadId": "x"}, -32602, "Invalid request: missing field `input`"),
        ("turn/start", [], -32602, "Invalid request: "),
        ("thread/start", {"sandbox": "none"}, -32602, "Invalid request: unknown variant `none`, expected one of"),
        ("initialize", {"clientInfo": {"name": "x", "version": "1"}}, -32600, "Already initialized"),
        ("turn/start", {"threadId": "nonsense", "input": []}, -32600, "invalid thread id: "),
    ],
)
def test_an_invalid_request_gets_an_error_and_the_connection_stays_open(
    deployment: Deployment, method: str, params: Any, code: int, message: str
) -> None:
    client = deployment.connect()

    with pytest.raises(RpcError) as refused:
        client.request(method, params)

    assert refused.value.message.startswith(message)
    assert refused.value.code == code
    assert "data" in client.request("thread/list", {"limit": 1})


def test_requests_before_the_handshake_are_refused(deployment: Deployment) -> None:
    client = connect(deployment.urls[0].replace("http", "ws") + "/")

    with pytest.raises(RpcError) as refused:
        client.request("thread/list", {})

    assert (refused.value.code, refused.value.message) == (-32600, "Not initialized")
    assert client.initialize()["platformOs"] == "linux"
    client.drop()


def test_a_frame_of_one_mebibyte_is_served_and_one_above_sixteen_closes_its_connection_only(
    deployment: Deployment,
) -> None:
    client, other = deployment.connect(), deployment.connect()
    thread_id = start_thread(client)
    turn_id = start_turn(client, thread_id, "[[say ok]]" + "x" * MIB)
    wait_for_end(client, turn_id)
    assert len(stored_turn(client, thread_id, turn_id)["items"][0]["content"][0]["text"]) == MIB + 10

    try:
        client.send('"' + "x" * (16 * MIB) + '"')
    except OSError:  # the server closed the connection while the frame was being sent
        pass

    assert client.wait_until_lost().code in (1009, None)
    assert "data" in other.request("thread/list", {"limit": 1})


def test_an_upgrade_from_a_foreign_origin_is_refused(deployment: Deployment) -> None:
    url = deployment.urls[0].replace("http", "ws") + "/"

    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        connect(url, headers={"Origin": "https://example.com"})

    assert refused.value.status_code == 403


# -- another user's thread


@pytest.fixture(params=DATABASES)
def without_workers(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Deployment]:
    """A deployment with one API process and no workers."""
    with Deployment(tmp_path, request.param, workers=0) as deployment, logs_shown_on_failure(deployment):
        yield deployment


def test_a_thread_of_another_user_is_answered_like_an_unknown_one(without_workers: Deployment) -> None:
    keys = []
    for name in ("alice", "bob"):
        without_workers.store.users.add(name)
        keys.append(without_workers.store.users.create_key(name, "laptop"))
    url = without_workers.urls[0].replace("http", "ws") + "/"
    alice, bob = connect(url, keys[0]), connect(url, keys[1])
    alice.initialize()
    bob.initialize()
    hers = start_thread(alice)
    turn_id = start_turn(alice, hers, "secret")
    unknown = "01a20429-0000-7000-8000-000000000000"

    def refusals(thread_id: str) -> list[tuple[int, str]]:
        refused = []
        for method, params in (
            ("thread/read", {}),
            ("thread/resume", {}),
            ("thread/archive", {}),
            ("thread/delete", {}),
            ("thread/turns/list", {}),
            ("turn/start", {"input": []}),
            ("turn/steer", {"input": [], "expectedTurnId": turn_id}),
            ("turn/interrupt", {"turnId": turn_id}),
        ):
            with pytest.raises(RpcError) as caught:
                bob.request(method, {"threadId": thread_id, **params})
            refused.append((caught.value.code, caught.value.message.replace(thread_id, "ID")))
        return refused

    assert refusals(hers) == refusals(unknown)
    assert bob.request("thread/list", {})["data"] == []
    assert [thread["id"] for thread in alice.request("thread/list", {})["data"]] == [hers]
    assert [frame["method"] for frame in bob.notifications] == []
    unauthenticated = EventStream(without_workers.urls[0], f"/v2/thread/events?threadId={hers}")
    assert unauthenticated.wait_for_end() == []
    assert unauthenticated.status == 401
    for client in (alice, bob):
        client.drop()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /v2/thread/list HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", b"400"),
        (b"POST /v2/workspace/archive HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nSCRIPT_NAME: /elsewhere\r\n", b"200"),
    ],
)
def test_malformed_chunks_and_gateway_headers_do_not_cause_a_server_error(
    deployment: Deployment, request_bytes: bytes, status: bytes
) -> None:
    with dial(deployment.urls[0]) as opened:
        opened.sendall(request_bytes + b"Host: localhost\r\nConnection: close\r\n\r\n-1\r\n")

        assert opened.recv(100).split(b" ")[1] == status
