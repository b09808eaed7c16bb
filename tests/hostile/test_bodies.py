"""Bodies and messages that never end, are too large or have too many values: what they take is bounded per user."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import websocket

from api.transport.received_message import MESSAGE_SECONDS
from tests.hostile.conftest import Tenant, Tenants
from tests.hostile.test_flood import masked
from tests.support.protocol_client import ProtocolClient, RpcError, connect

Frame = websocket.ABNF
MIB = 1 << 20
STALLED = 60
MOST_GROWTH = 400 * MIB  # 256 MiB may be held; 60 bodies of 15 MiB are 900 MiB
ANSWER_SECONDS = 60.0  # on a busy machine; a body that did not come has an answer of its own (408)
LOST_SECONDS = MESSAGE_SECONDS + 60  # after which a message that has begun has surely ended its connection


class Post:
    """A request over a socket of its own. Its body is up to the test."""

    def __init__(self, tenant: Tenant, path: str, *headers: str, key: str | None = None) -> None:
        parts = urlsplit(tenant.deployment.urls[0])
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=ANSWER_SECONDS)
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key or tenant.key}", *headers]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def answer(self) -> tuple[int, dict[str, object]]:
        """Return status and problem details."""
        received = b""
        while b"\r\n\r\n" not in received or not received.endswith(b"}"):
            data = self.socket.recv(65536)
            assert data, f"no answer: {received!r}"
            received += data
        head, _, body = received.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)


def memory(tenants: Tenants) -> int:
    """Resident bytes of the API process."""
    master = tenants.deployment.api[0].pid
    pids = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * 4096


BODY = "Content-Length: 16000000"
UNREAD = {  # what is sent without a body → status and title of the answer
    "nobody": (["/v2/thread/list", BODY], 401, "Unauthorized"),
    "nobody, in chunks": (["/v2/thread/list", "Transfer-Encoding: chunked"], 401, "Unauthorized"),
    "too large": (["/v2/thread/list", "Content-Length: 17000000"], 413, "BodyTooLarge"),
    "archive too large": (["/v2/workspace/archive", "Content-Length: 999999999"], 413, "BodyTooLarge"),
    "too many requests": (["/v2/thread/list", BODY], 429, "Overloaded"),
    "too many requests, archive": (["/v2/workspace/archive", BODY], 429, "Overloaded"),
    "too many requests, answer": (["/v2/serverRequest/respond", BODY], 429, "Overloaded"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_request_is_refused_before_its_body_is_read(tenants: Tenants, name: str) -> None:
    (path, *headers), expected, title = UNREAD[name]
    key = "th_wrong" if name.startswith("nobody") else tenants.eve.key
    if expected == 429:
        user_id, key = tenants.deployment.add_user(f"mallory-{len(name)}")
        tenants.deployment.store.limits.change(user_id, {"requests_per_minute": 1})
        Post(tenants.eve, "/v2/thread/list", "Content-Length: 0", key=key).answer()

    status, problem = Post(tenants.eve, path, *headers, key=key).answer()

    assert (status, problem["title"]) == (expected, title)


def test_a_body_of_unknown_length_is_refused_once_it_is_too_large(tenants: Tenants) -> None:
    post = Post(tenants.eve, "/v2/thread/list", "Transfer-Encoding: chunked")
    with suppress(OSError):
        for _ in range(17):
            post.socket.sendall(b"%x\r\n%b\r\n" % (MIB, b" " * MIB))

    status, problem = post.answer()

    assert (status, problem["title"]) == (413, "BodyTooLarge")


def test_bodies_that_stall_are_bounded_and_ended_while_others_send_theirs(tenants: Tenants) -> None:
    before = memory(tenants)
    stalled = [Post(tenants.eve, "/v2/thread/list", BODY) for _ in range(STALLED)]
    for post in stalled:
        threading.Thread(target=send_quietly, args=[post.socket, b" " * (15 * MIB)], daemon=True).start()

    text = "x" * MIB
    served = Post(tenants.ada, "/v2/thread/list", f"Content-Length: {len(text) + 20}")
    served.socket.sendall(json.dumps({"searchTerm": text}).encode().ljust(len(text) + 20))
    assert served.answer()[0] == 200
    statuses = [post.answer()[0] for post in stalled]

    assert set(statuses) == {408, 429}
    assert statuses.count(408) <= 16
    assert memory(tenants) - before < MOST_GROWTH


def test_a_body_that_drips_is_ended(tenants: Tenants) -> None:
    post = Post(tenants.eve, "/v2/thread/list", "Transfer-Encoding: chunked")
    answered = threading.Event()

    def drip() -> None:
        with suppress(OSError):
            while not answered.wait(0.5):
                post.socket.sendall(b"1\r\n \r\n")

    threading.Thread(target=drip, daemon=True).start()
    status, problem = post.answer()
    answered.set()

    assert (status, problem["title"]) == (408, "RequestTimeout")


def test_a_head_that_never_ends_is_closed(tenants: Tenants) -> None:
    post = Post(tenants.eve, "/v2/thread/list HTTP/1.1\r\nX: half a head")
    half = socket.create_connection(post.socket.getpeername(), timeout=ANSWER_SECONDS)
    half.sendall(b"POST /v2/thread/list HTTP/1.1\r\nHost: localhost\r\nX-Half")

    assert half.recv(1000) == b""


def test_messages_that_have_begun_are_bounded_and_ended_while_others_send_theirs(tenants: Tenants) -> None:
    url = tenants.deployment.urls[0].replace("http", "ws", 1) + "/"
    before = memory(tenants)
    begun: list[ProtocolClient] = []
    for _ in range(STALLED):
        client = connect(url, tenants.eve.key)
        client.initialize()
        begun.append(client)
        pieces = [
            masked(Frame.OPCODE_TEXT, b" ", final=False),
            *[masked(Frame.OPCODE_CONT, b" " * MIB, final=False)] * 15,
        ]
        threading.Thread(target=send_quietly, args=[client._socket.sock, b"".join(pieces)], daemon=True).start()

    tenants.ada.client.request("thread/list", {"searchTerm": "x" * MIB})
    codes = [client.wait_until_lost(LOST_SECONDS).code for client in begun]

    assert codes.count(1008) <= 16  # None: what the client still sent stood in the way of the goodbye
    assert set(codes) <= {1008, 1013, None}
    assert memory(tenants) - before < MOST_GROWTH


def test_a_flood_of_bodies_of_nobody_leaves_time_for_others(tenants: Tenants) -> None:
    over = threading.Event()
    floods = {
        "Content-Length: 99999999999": b" " * MIB,
        "Transfer-Encoding: chunked": b"1\r\n \r\n" * 10_000,
    }

    def flood(header: str, piece: bytes) -> None:
        while not over.is_set():
            with suppress(OSError):
                post = Post(tenants.eve, "/v2/thread/list", header, key="th_wrong")
                while not over.is_set():
                    post.socket.sendall(piece)

    senders = [threading.Thread(target=flood, args=each, daemon=True) for each in floods.items()]
    for sender in senders:
        sender.start()
    for _ in range(200):
        tenants.ada.client.request("thread/list", {})
    over.set()
    for sender in senders:
        sender.join(2 * ANSWER_SECONDS)
        assert not sender.is_alive()


def test_params_with_too_many_elements_are_refused_before_they_are_looked_at(tenants: Tenants) -> None:
    with pytest.raises(RpcError) as refused:
        tenants.eve.client.request("turn/start", {"threadId": "x", "input": [{}] * 45_000})

    assert refused.value.code == -32602


def test_a_request_with_too_many_values_is_refused(tenants: Tenants) -> None:
    body = b"[" + b"[]," * 4 * MIB + b"[]]"
    post = Post(tenants.eve, "/v2/thread/list", f"Content-Length: {len(body)}")
    post.socket.sendall(body)
    assert post.answer()[0] == 413

    client = tenants.deployment.connect(0, token=tenants.eve.key)
    client.send(body.decode())
    assert client.wait_until_lost().code == 1009


def send_quietly(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        connection.sendall(data)
