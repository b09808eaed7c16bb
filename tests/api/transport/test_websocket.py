"""WebSockets over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
import websocket

from api.app import make_app
from api.delivery.outgoing import MAX_QUEUED_FRAMES
from tests.builders import Backend, delta, make_thread
from tests.support.protocol_client import ProtocolClient, connect, dial
from tests.support.wsgi_server import serve


@pytest.fixture
def address(backend: Backend) -> Iterator[str]:
    with serve(make_app(backend.services)) as address:
        yield address


@pytest.fixture
def client(address: str) -> ProtocolClient:
    client = connect(f"ws://{address}/")
    client.initialize()
    return client


def refusal(url: str, **headers: str) -> int:
    """The HTTP status that an upgrade is refused with."""
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        connect(url, headers=headers)
    return int(refused.value.status_code)


def test_an_upgrade_is_accepted_on_any_path(address: str) -> None:
    client = connect(f"ws://{address}/some/path?x=1")

    assert client.initialize()["platformFamily"] == "unix"


def test_foreign_origins_and_hosts_are_refused(address: str) -> None:
    assert refusal(f"ws://{address}/", Origin="https://evil.example") == 403
    assert refusal(f"ws://{address}/", Origin=f"http://{address}") == 403
    assert refusal(f"ws://{address}/", Host="evil.example:80") == 403


@pytest.mark.parametrize("line", [b"Sec-WebSocket-Version: 99", b"Sec-WebSocket-Extensions: \xb2", b"X: no version"])
def test_a_malformed_upgrade_is_refused(address: str, line: bytes) -> None:
    with dial(f"ws://{address}/") as opened:
        opened.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + line + b"\r\n\r\n"
        )

        assert opened.recv(100).split(b" ")[1] == b"400"


def test_a_server_with_users_requires_a_key(backend: Backend, address: str) -> None:
    backend.store.users.add("ada")
    key = backend.store.users.create_key("ada", "laptop")

    assert refusal(f"ws://{address}/") == 401
    assert refusal(f"ws://{address}/", Authorization="Bearer th_wrong") == 401
    client = connect(f"ws://{address}/", token=key)
    client.initialize()

    assert client.request("account/read")["userId"] != "local"


@pytest.mark.parametrize("text", ["not json", "[1, 2]", '"text"', '{"id": 1', '{"id": 9, "method": 5}', "[" * 5000])
def test_malformed_frames_are_dropped(client: ProtocolClient, text: str) -> None:
    client.send(text)

    assert client.request("account/read")["account"] is None


def test_binary_frames_are_dropped(client: ProtocolClient) -> None:
    client._socket.send_binary(b'{"id": 1, "method": "account/read"}')

    assert client.request("account/read")["account"] is None


def test_nul_and_lone_surrogates_become_replacement_characters(client: ProtocolClient) -> None:
    client.send('{"id": "s", "method": "thread/start", "params": {"developerInstructions": "a\\u0000\\ud800b"}}')
    thread_id = client.result("s")["thread"]["id"]

    client.send(f'{{"id":"n","method":"thread/name/set","params":{{"threadId":"{thread_id}","name":"x\\ud800"}}}}')
    client.result("n")

    assert client.wait_for_method("thread/name/updated")["params"]["threadName"] == "x\ufffd"


def test_a_frame_over_16_mebibytes_closes_the_connection(client: ProtocolClient) -> None:
    client.request("skills/list", {"cwds": ["x" * (1 << 20)]})

    with suppress(OSError, websocket.WebSocketException):  # the server may close before all is sent
        client.send("x" * (17 << 20))

    assert client.wait_until_lost().code in (1009, None)


def test_fragments_are_joined_to_one_message(client: ProtocolClient) -> None:
    frame = websocket.ABNF
    client._socket.send_frame(frame.create_frame('{"id": "f", "method":', frame.OPCODE_TEXT, fin=0))
    client._socket.send_frame(frame.create_frame(' "account/read", "params": {}}', frame.OPCODE_CONT, fin=1))

    assert client.result("f")["account"] is None


def test_requests_are_answered_in_their_order(client: ProtocolClient) -> None:
    ids = [client.send_request("account/read", {}) for _ in range(50)]

    client.result(ids[-1])
    assert [frame["id"] for frame in client.received if frame.get("id") in ids] == ids


def test_a_ping_is_answered(client: ProtocolClient) -> None:
    client._socket.ping("x")
    assert client.request("account/read")


def test_a_client_that_pauses_reading_misses_nothing(backend: Backend, address: str) -> None:
    thread = make_thread(backend.store, backend.config)
    client = connect(f"ws://{address}/")
    client.initialize()
    client.request("thread/resume", {"threadId": thread.id})
    count = MAX_QUEUED_FRAMES * 3

    with client._arrived:  # blocks the reader, so that nothing is read from the socket
        for number in range(count):
            backend.publish(thread, delta(thread.id, "a", f"{number:06} " + "x" * 1000))
    backend.publish(thread, delta(thread.id, "a", "end"))

    client.wait_for(lambda frame: frame.get("params", {}).get("delta") == "end")
    numbers = [frame["params"]["delta"][:6] for frame in client.notifications]
    assert numbers == [f"{number:06}" for number in range(count)] + ["end"]
