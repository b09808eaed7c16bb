"""One WebSocket to the server, as its client."""

from __future__ import annotations

import socket as sockets
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import orjson
import websocket

from api.cli.bridge.messages import Message
from shared.errors import Unauthorized, Unavailable
from shared.ids import new_id

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 75.0  # the server pings after 30 s of silence; two missed pings are a dead connection
DISCONNECTED = (OSError, websocket.WebSocketException)  # what reading and sending raise on a broken connection


class ServerConnection:
    """An open connection.

    url:    ws:// or wss://
    token:  an API key or token, or what returns one; None: the server has no users
    Errors: of the constructor: Unauthorized, Unavailable; of all methods but `try_send`: DISCONNECTED
    """

    def __init__(self, url: str, token: str | Callable[[], str] | None) -> None:
        token = token() if callable(token) else token
        try:
            self._socket = websocket.create_connection(
                url,
                header=[f"Authorization: Bearer {token}"] if token else [],
                suppress_origin=True,
                socket=_open_socket(url),
                timeout=CONNECT_SECONDS,
                enable_multithread=True,
                skip_utf8_validation=True,  # it is slow, and decoding the JSON checks it anyway
            )
        except websocket.WebSocketBadStatusException as error:
            if error.status_code == 401:
                raise Unauthorized(f"{url} requires an API key: set THREADHOUSE_TOKEN to a valid one") from None
            raise Unavailable(
                f"no threadhouse server at {url} (HTTP {error.status_code}): set THREADHOUSE_URL"
            ) from None
        except (*DISCONNECTED, ValueError) as error:
            raise Unavailable(
                f"no server answers at {url}: start it, or set THREADHOUSE_URL to another ({error})"
            ) from None
        self._socket.settimeout(SILENCE_SECONDS)

    def send(self, data: bytes) -> None:
        """Send one message."""
        self._socket.send(data, websocket.ABNF.OPCODE_TEXT)

    def try_send(self, data: bytes) -> None:
        """Send one message; the thread that receives sees a broken connection, too, and reconnects."""
        try:
            self.send(data)
        except DISCONNECTED:
            pass

    def receive(self) -> tuple[bytes, Message]:
        """Wait for the next message; return it as it came and decoded."""
        while True:
            opcode, data = self._socket.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                raise websocket.WebSocketConnectionClosedException("closed by the server")
            if opcode == websocket.ABNF.OPCODE_TEXT:
                return data, orjson.loads(data)

    def request(self, method: str, params: object, handle_other: Callable[[bytes, Message], None]) -> Message:
        """Send a request of the bridge's own and return its reply; other messages go to `handle_other`.

        Errors: DISCONNECTED; Unavailable (the server cannot answer it now)
        """
        request_id = new_id()
        self.send(orjson.dumps({"id": request_id, "method": method, "params": params}))
        while True:
            data, message = self.receive()
            if message.get("id") == request_id:
                if message.get("error", {}).get("data"):
                    raise Unavailable(message["error"]["message"])
                return message
            handle_other(data, message)

    def send_close(self) -> None:
        """Send a close frame: the server reads everything before it, then closes the connection."""
        self._socket.send_close()

    def drop(self) -> None:
        """Close the socket at once."""
        self._socket.shutdown()  # type: ignore[no-untyped-call]


def _open_socket(url: str) -> sockets.socket:
    """Connect to the host of a ws:// or wss:// URL, ignoring the proxies of the environment. Errors: OSError."""
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    plain = sockets.create_connection((parts.hostname or "", parts.port or (443 if secure else 80)), CONNECT_SECONDS)
    plain.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
    return ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname) if secure else plain
