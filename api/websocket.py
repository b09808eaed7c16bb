"""One WebSocket's life: authenticate, read frames, one outgoing queue, close. The only file that names the library.

The greenlet of the HTTP request reads, and handles requests one after the other: a client that sends faster than it is
served waits in its own socket. A second greenlet sends, so that events flow while a request takes its time.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterable
from typing import Any

import redis
from flask import Flask, Request, Response, request
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    TextMessage,
)
from wsproto.events import Request as UpgradeRequest
from wsproto.utilities import ProtocolError

from api import dispatch
from api.auth import Auth
from api.connection import Closed, Connection, Frame
from api.context import Services
from api.watch import Watch
from shared.errors import InvalidRequest, Unavailable
from shared.protocol.frames import decode

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
RECEIVE_BYTES = 64 * 1024
PING_SECONDS = 30.0  # of silence; proxies drop what is silent for a minute
REDIS_RETRY_SECONDS = 1.0
UNACKNOWLEDGED_MS = 120_000  # a peer that is gone without a word is noticed after this
GOODBYE_SECONDS = 5.0  # for a client that has left to take what is still queued
NORMAL, GOING_AWAY, TOO_BIG = 1000, 1001, 1009


def register(app: Flask, services: Services, auth: Auth, watch: Watch) -> None:
    """Upgrades on any path (PROTOCOL 1.1)."""

    def upgrade(path: str = "") -> Response:
        auth.check_origin(request, own_allowed=False)
        caller = auth.caller(request, "websocket")
        leave = services.limits.enter(caller.user_id)
        try:
            _Socket(request, Connection(caller, services.events), services, watch).serve()
        finally:
            leave()
        return _AlreadyAnswered()

    app.add_url_rule("/", "websocket", upgrade, websocket=True)
    app.add_url_rule("/<path:path>", "websocket_anywhere", upgrade, websocket=True)


class _AlreadyAnswered(Response):
    """What gunicorn's worker takes as: the socket was used up, write nothing."""

    def __call__(self, *_: Any) -> Iterable[bytes]:
        raise StopIteration


class _Socket:
    def __init__(self, request: Request, connection: Connection, services: Services, watch: Watch) -> None:
        self._socket: socket.socket = request.environ["gunicorn.socket"]
        self._headers = [(name.encode(), value.encode("latin-1")) for name, value in request.headers.items()]
        self._connection = connection
        self._services = services
        self._watch = watch
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._sending = threading.Lock()

    def serve(self) -> None:
        """Returns when the connection is over."""
        self._prepare()
        self._accept()
        writer = threading.Thread(target=self._write, name="websocket writer", daemon=True)
        writer.start()
        self._watch.add(self._connection, self._shut_down)
        try:
            self._services.relay.attach(self._connection)
            self._read()
        except (Closed, OSError, ProtocolError):
            pass
        except (Unavailable, redis.RedisError) as error:
            self._connection.close(GOING_AWAY, str(error)[:100])
        finally:
            self._connection.close(NORMAL, "")
            writer.join(GOODBYE_SECONDS)
            self._shut_down()
            self._services.relay.detach(self._connection)
            self._watch.remove(self._connection)

    def _prepare(self) -> None:
        if self._socket.family in (socket.AF_INET, socket.AF_INET6):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
        self._socket.settimeout(None)

    def _accept(self) -> None:
        upgrade = b"".join(b"%b: %b\r\n" % header for header in self._headers)
        try:
            self._protocol.receive_data(b"GET / HTTP/1.1\r\n" + upgrade + b"\r\n")
        except (ProtocolError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"not a WebSocket upgrade: {error}") from None
        for event in self._protocol.events():
            if isinstance(event, UpgradeRequest):
                self._send(self._protocol.send(AcceptConnection()))  # no compression: frames are shared bytes

    # -- reading

    def _read(self) -> None:
        parts: list[str] = []
        size = 0
        while data := self._socket.recv(RECEIVE_BYTES):
            self._protocol.receive_data(data)
            for event in self._protocol.events():
                match event:
                    case TextMessage():
                        parts.append(event.data)
                        size += len(event.data.encode())
                    case BytesMessage():  # dropped, but counted
                        size += len(event.data)
                    case Ping():
                        self._send(self._protocol.send(event.response()))
                    case CloseConnection():
                        self._send(self._protocol.send(event.response()))
                        raise Closed(NORMAL, "")
                if size > MAX_MESSAGE_BYTES:
                    self._connection.close(TOO_BIG, "a frame may have 16 MiB")
                    return
                if isinstance(event, TextMessage | BytesMessage) and event.message_finished:
                    if self._connection.is_closed:  # nothing is done any more for one whose credential has ended
                        return
                    text, parts, size = "".join(parts), [], 0
                    self._receive(text)

    def _receive(self, text: str) -> None:
        try:
            message = decode(text.encode())
        except ValueError:
            return
        dispatch.receive(self._services, self._connection, message)

    # -- sending

    def _write(self) -> None:
        try:
            while True:
                try:
                    frames = self._connection.take(PING_SECONDS)
                except redis.RedisError as error:
                    logger.warning("a thread's log could not be read: %s", error)
                    threading.Event().wait(REDIS_RETRY_SECONDS)
                    continue
                self._send(b"".join(map(_text_frame, frames)) if frames else self._protocol.send(Ping()))
        except Closed as over:
            self._say_goodbye(over)
        except (OSError, ProtocolError):
            self._connection.close(NORMAL, "")
        finally:
            self._shut_down()

    def _say_goodbye(self, over: Closed) -> None:
        try:
            self._send(self._protocol.send(CloseConnection(code=over.code, reason=over.reason)))
        except (OSError, ProtocolError):  # the other side was faster
            pass

    def _shut_down(self) -> None:
        """Ends the reader too."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _send(self, data: bytes) -> None:
        with self._sending:
            self._socket.sendall(data)


def _text_frame(frame: Frame) -> bytes:
    """RFC 6455, 5.2: final, text, not masked. Made here, and not by the library, because it is the hot path."""
    size = len(frame.data)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + frame.data
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + frame.data
    return b"\x81\x7f" + size.to_bytes(8, "big") + frame.data
