"""One WebSocket's life: authenticate, read frames, send frames, close. The only file that names the WebSocket library.

The greenlet of the HTTP request reads, and handles requests one after the other: the socket of a client that sends
faster than it is served fills up, so the client waits. A second greenlet sends, so that events flow during a request.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any

import gevent
import redis
from flask import Flask, Request, Response, request
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    TextMessage,
)
from wsproto.events import Request as UpgradeRequest
from wsproto.utilities import ProtocolError

from api.access.auth import Auth
from api.delivery.close_codes import GOING_AWAY, NORMAL, TOO_BIG, Closed
from api.delivery.connection import Connection
from api.delivery.frames import Frame
from api.requests.services import Services
from api.transport import dispatch
from api.transport.credential_watch import CredentialWatch
from api.transport.drain import Drain
from api.transport.frame_rate import FrameRate
from api.transport.received_message import ReceivedMessage
from shared.errors import InvalidRequest, Unavailable
from shared.protocol.frames import TooManyValues, decode_request

logger = logging.getLogger(__name__)

RECEIVE_BYTES = 64 * 1024
PING_SECONDS = 30.0  # of silence; proxies drop connections that are silent for a minute
REDIS_RETRY_SECONDS = 1.0
CLOSE_SECONDS = 5.0  # that a closing connection may take to send what is queued, and the client to close its side


def register(app: Flask, services: Services, auth: Auth, watch: CredentialWatch, drain: Drain) -> None:
    """Add routes that upgrade on any path (PROTOCOL 1.1)."""

    def upgrade(path: str = "") -> Response:
        auth.check_origin(request, own_allowed=False)
        drain.check()
        caller = auth.authenticate(request, "websocket")
        release_slot = services.limits.count_connection(caller.user_id)
        try:
            _Socket(request, Connection(caller, services.events), services, watch).serve()
        finally:
            release_slot()
        return _AlreadyAnswered()

    app.add_url_rule("/", "websocket", upgrade, websocket=True)
    app.add_url_rule("/<path:path>", "websocket_anywhere", upgrade, websocket=True)


class _AlreadyAnswered(Response):
    """A response that gunicorn's worker does not write, because the socket was used for the WebSocket."""

    def __call__(self, *_: Any) -> Iterable[bytes]:
        raise StopIteration


class _Socket:
    """The socket of one client, between the library's protocol and the Connection."""

    def __init__(self, request: Request, connection: Connection, services: Services, watch: CredentialWatch) -> None:
        self._socket: socket.socket = request.environ["gunicorn.socket"]
        self._headers = [(name.encode(), value.encode("latin-1")) for name, value in request.headers.items()]
        self._connection = connection
        self._services = services
        self._watch = watch
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._sending = threading.Lock()
        self._read_ended = threading.Event()

    def serve(self) -> None:
        """Serve the client until the connection is over."""
        opened_at = time.monotonic()
        self._prepare()
        self._accept()
        logger.info("connection opened", extra={"user_id": self._connection.user_id})
        writer = threading.Thread(target=self._write, name="websocket writer", daemon=True)
        writer.start()
        self._watch.add(self._connection, self._shut_down)
        try:
            self._services.relay.attach(self._connection)
            self._read()
        except Closed as closed:
            self._connection.close(closed.code, closed.reason)
        except (OSError, ProtocolError):
            pass
        except (Unavailable, redis.RedisError) as error:
            self._connection.close(GOING_AWAY, str(error)[:100])
        finally:
            self._read_ended.set()
            self._connection.close(NORMAL, "")
            writer.join(CLOSE_SECONDS)
            self._shut_down()
            self._connection.discard()
            self._services.relay.detach(self._connection)
            self._watch.remove(self._connection)
            duration_ms = round((time.monotonic() - opened_at) * 1000)
            logger.info("connection closed", extra={"user_id": self._connection.user_id, "duration_ms": duration_ms})

    def _prepare(self) -> None:
        if self._socket.family in (socket.AF_INET, socket.AF_INET6):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(None)

    def _accept(self) -> None:
        upgrade = b"".join(b"%b: %b\r\n" % header for header in self._headers)
        try:
            self._protocol.receive_data(b"GET / HTTP/1.1\r\n" + upgrade + b"\r\n")
        except (ProtocolError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"not a valid WebSocket upgrade: {error}") from None
        for event in self._protocol.events():
            if isinstance(event, UpgradeRequest):
                # Without compression, because connections share the bytes of frames.
                self._send(self._protocol.send(AcceptConnection()))

    # -- reading

    def _read(self) -> None:
        message = self._next_message()
        rate = FrameRate()
        try:
            while data := self._receive_bytes(message):
                self._protocol.receive_data(data)
                if pause_s := message.reserved.pause_after(len(data)):
                    time.sleep(pause_s)
                for event in self._protocol.events():
                    rate.count()
                    if self._handle_event(event, message):
                        message.reserved.release()
                        message = self._next_message()
        finally:
            message.reserved.release()

    def _next_message(self) -> ReceivedMessage:
        return ReceivedMessage(self._services.limits.bodies, self._connection.user_id)

    def _receive_bytes(self, message: ReceivedMessage) -> bytes:
        """Return what the client has sent, b"" at the end. Errors: Closed, when a message that has begun is late."""
        if (patience := message.patience()) is None:
            return self._socket.recv(RECEIVE_BYTES)
        with gevent.Timeout(*patience):
            return self._socket.recv(RECEIVE_BYTES)

    def _handle_event(self, event: Event, message: ReceivedMessage) -> bool:
        """Handle one event of the protocol. Return whether the message was complete, and was handled. Errors: Closed"""
        match event:
            case TextMessage():
                message.add(event.data, len(event.data.encode()), is_last=event.message_finished)
            case BytesMessage():
                message.add("", len(event.data), is_last=event.message_finished)
            case Ping():
                self._send(self._protocol.send(event.response()))
            case CloseConnection():
                self._send(self._protocol.send(event.response()))
                raise Closed(NORMAL, "")
        if not isinstance(event, TextMessage | BytesMessage) or not event.message_finished:
            return False
        if self._connection.is_closed:  # its credential has ended: handle no more requests
            raise Closed(NORMAL, "")
        self._handle_message(message)
        return True

    def _handle_message(self, received: ReceivedMessage) -> None:
        try:
            message = decode_request(received.text().encode())
        except TooManyValues as error:
            raise Closed(TOO_BIG, str(error)) from None
        except ValueError:
            return
        dispatch.handle_message(self._services, self._connection, message, received.reserved)

    # -- sending

    def _write(self) -> None:
        try:
            while True:
                try:
                    frames = self._connection.dequeue(PING_SECONDS)
                except redis.RedisError as error:
                    logger.warning("event log of a thread not read, retrying: %s", error)
                    threading.Event().wait(REDIS_RETRY_SECONDS)
                    continue
                self._send(b"".join(map(_text_frame, frames)) if frames else self._protocol.send(Ping()))
        except Closed as over:
            self._send_close(over)
            # Closing a socket with unread data would destroy what the client has not read yet.
            self._read_ended.wait(CLOSE_SECONDS)
        except (OSError, ProtocolError):
            self._connection.close(NORMAL, "")
        finally:
            self._shut_down()

    def _send_close(self, over: Closed) -> None:
        try:
            self._send(self._protocol.send(CloseConnection(code=over.code, reason=over.reason)))
        except (OSError, ProtocolError):  # the client has closed first
            pass

    def _shut_down(self) -> None:
        """Shut the socket down, which ends the reader too."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _send(self, data: bytes) -> None:
        with self._sending:
            self._socket.sendall(data)


def _text_frame(frame: Frame) -> bytes:
    """Return a frame of RFC 6455, 5.2: final, text, not masked. Not made by the library, because it is the hot path."""
    size = len(frame.data)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + frame.data
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + frame.data
    return b"\x81\x7f" + size.to_bytes(8, "big") + frame.data
