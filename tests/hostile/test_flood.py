"""One connection cannot take a process from the others."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import websocket

from tests.hostile.conftest import Tenants
from tests.support.protocol_client import connect

Frame = websocket.ABNF


def masked(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    made: bytes = Frame.create_frame(payload, opcode, 1 if final else 0).format()
    return made


FLOODS: dict[str, Callable[[], tuple[bytes, bytes]]] = {  # what is sent first, what is repeated
    "frames that are no messages": lambda: (b"", masked(Frame.OPCODE_TEXT, b"[]")),
    "pings": lambda: (b"", masked(Frame.OPCODE_PING, b"")),
    "pongs": lambda: (b"", masked(Frame.OPCODE_PONG, b"")),
    "empty continuations": lambda: (
        masked(Frame.OPCODE_TEXT, b"", final=False),
        masked(Frame.OPCODE_CONT, b"", final=False),
    ),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_frames_is_slowed_down_and_closed_while_others_work(tenants: Tenants, name: str) -> None:
    url = tenants.deployment.urls[0].replace("http", "ws", 1) + "/"
    first, repeated = FLOODS[name]()
    flooding = connect(url, tenants.eve.key)
    flooding.initialize()
    socket = flooding._socket.sock
    socket.sendall(first)

    def flood() -> None:
        chunk = repeated * 10_000
        try:
            while True:
                socket.sendall(chunk)
        except OSError:
            pass

    sender = threading.Thread(target=flood, daemon=True)
    sender.start()
    rounds = 0
    while flooding.lost is None:
        tenants.ada.client.request("thread/list", {})
        rounds += 1

    assert flooding.lost.code in (1008, None)  # None: the flood stood in the way of the goodbye
    assert rounds > 20
    sender.join(60)
