"""The bridge between a client's pipes and a server: its two threads, and how it reconnects.

The main thread reads the client's lines; a second thread reads the connection and replaces it when it breaks. The
client does not notice a broken connection: the bridge connects again, resumes each followed thread from the last
event that the client has, and sends again what may be sent twice (PROTOCOL section 1).
"""

from __future__ import annotations

import os
import random
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import BinaryIO

import click
import orjson

from api.cli.bridge.messages import INPUT_METHODS, ErrorObject, Message, unavailable
from api.cli.bridge.server_connection import DISCONNECTED, ServerConnection
from api.cli.bridge.session import ClientRequest, Session
from shared.errors import ThreadhouseError, Unavailable
from shared.ids import new_id
from shared.protocol.frames import decode

RECONNECT_SECONDS = (0.1, 5.0)  # pause between two attempts to connect: first, longest
WAIT_SECONDS = 30.0
CLOSE_SECONDS = 2.0  # at the end, for the server to read what was sent
MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # of a frame; the server closes the connection on a bigger one


class Bridge:
    """One client on stdin and stdout, and its connection to the server.

    url:          http(s):// or ws(s)://
    token:        an API key or token, or what returns one; None: the server has no users
    output:       where lines for the client are written
    wait_seconds: how long requests wait for a server that is away
    """

    def __init__(
        self, url: str, token: str | Callable[[], str] | None, output: BinaryIO, *, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._url = url.replace("http", "ws", 1) if url.startswith("http") else url
        self._token = token
        self._output = output
        self._wait_seconds = wait_seconds
        self._write_lock = threading.Lock()
        self._session = Session()

    def run(self, lines: Iterable[bytes]) -> None:
        """Serve the client until its lines end. Errors: Unavailable, Unauthorized (at the start)."""
        connection = self._connect()
        self._session.attach(connection)
        reader = threading.Thread(target=self._read_server, args=(connection,), name="server reader", daemon=True)
        reader.start()
        for line in lines:
            self._handle_line(line.strip())
        last_connection = self._session.close()
        if last_connection is not None:
            try:
                last_connection.send_close()
                reader.join(CLOSE_SECONDS)
            except DISCONNECTED:
                pass

    # -- from the client

    def _handle_line(self, data: bytes) -> None:
        """Pass one line on; a line that is not a JSON object is dropped, as the original does."""
        try:
            message: Message = decode(data)
        except ValueError:
            return
        if not isinstance(message, dict):
            return
        request_id, method = message.get("id"), message.get("method")
        if isinstance(request_id, int | str) and not isinstance(request_id, bool) and isinstance(method, str):
            self._handle_request(ClientRequest(request_id, method, message.get("params"), data), message)
            return
        connection = self._session.record_answer(request_id, data)
        if connection is not None:
            connection.try_send(data)

    def _handle_request(self, request: ClientRequest, message: Message) -> None:
        params = request.params
        if request.method in INPUT_METHODS and isinstance(params, dict) and params.get("clientUserMessageId") is None:
            params["clientUserMessageId"] = new_id()  # makes it repeatable: the server accepts each id once
            request.data = orjson.dumps(message)
        if len(request.data) > MAX_MESSAGE_BYTES:
            self._write_error(request.id, {"code": -32600, "message": "a message must not exceed 16 MiB"})
            return
        try:
            connection = self._session.add_request(request)
        except Unavailable as error:
            self._write_error(request.id, unavailable(str(error)))
            return
        if connection is not None:
            connection.try_send(request.data)

    # -- from the server

    def _read_server(self, connection: ServerConnection) -> None:
        """Pass messages of the server on, from one connection after the other; the second thread runs it."""
        try:
            while True:
                try:
                    while True:
                        self._handle_server_message(*connection.receive())
                except DISCONNECTED:
                    self._disconnect(connection)
                if self._session.is_closing:
                    return
                connection = self._reconnect()
        except ThreadhouseError as error:
            click.echo(f"threadhouse: {error}", err=True)
        except Exception:  # noqa: BLE001 - the edge of a thread: without it the process would hang
            traceback.print_exc()
        os._exit(1)  # the main thread is blocked reading stdin

    def _handle_server_message(self, data: bytes, message: Message) -> None:
        part = self._session.handle(message)
        if part is message:
            self._write(data)
        elif part is not None:
            self._write(orjson.dumps(part))

    # -- to the client

    def _write(self, data: bytes) -> None:
        with self._write_lock:
            try:
                self._output.write(data + b"\n")
                self._output.flush()
            except OSError:
                os._exit(0)  # the client is gone

    def _write_error(self, request_id: int | str, error: ErrorObject) -> None:
        self._write(orjson.dumps({"id": request_id, "error": error}))

    def _fail_requests(self, which: Callable[[ClientRequest], bool]) -> None:
        """Answer the pending requests for which `which` is true with an error after which clients try again."""
        for request in self._session.remove_requests(which):
            self._write_error(request.id, unavailable("the connection broke before there was an answer"))

    # -- connections

    def _connect(self) -> ServerConnection:
        """Errors: Unauthorized, Unavailable."""
        return ServerConnection(self._url, self._token)

    def _disconnect(self, connection: ServerConnection) -> None:
        """Close a broken connection; requests that were sent on it and must not be sent twice have failed."""
        connection.drop()
        self._session.detach()
        self._fail_requests(lambda request: request.may_be_lost)

    def _reconnect(self) -> ServerConnection:
        """Return a new connection in the state that the last one had. Errors: Unauthorized."""
        give_up_at = time.monotonic() + self._wait_seconds
        pause_seconds, longest_seconds = RECONNECT_SECONDS
        while True:
            try:
                connection = self._connect()
                try:
                    self._restore(connection)
                    return connection
                except (*DISCONNECTED, Unavailable):
                    self._disconnect(connection)
            except Unavailable:
                pass
            if time.monotonic() > give_up_at:
                self._session.give_up()
                self._fail_requests(lambda request: True)
            time.sleep(pause_seconds * random.uniform(0.5, 1.0))  # many clients come back at once
            pause_seconds = min(pause_seconds * 2, longest_seconds)

    def _restore(self, connection: ServerConnection) -> None:
        """Repeat the handshake, send input again, resume followed threads, then send the other requests again.

        Input comes first because the reply to turn/start precedes the events of its turn.
        Errors: DISCONNECTED, Unavailable
        """
        handshake = self._session.handshake
        if handshake is not None:
            connection.request("initialize", handshake, self._handle_server_message)
            connection.send(orjson.dumps({"method": "initialized"}))
        thread_ids = self._session.followed_threads()
        for request in self._session.pending_input():
            request.sends += 1
            connection.send(request.data)
            while self._session.is_pending(request.id):
                self._handle_server_message(*connection.receive())
        for thread_id in thread_ids:
            self._resume(connection, thread_id)
        for data in self._session.attach(connection):
            connection.send(data)

    def _resume(self, connection: ServerConnection, thread_id: str) -> None:
        """Follow a thread from the client's cursor; when the log has lost it, write events made from the turns."""
        cursor = self._session.cursor(thread_id)
        resume = {"threadId": thread_id, "excludeTurns": True, "afterEventId": cursor}
        reply = connection.request("thread/resume", resume, self._handle_server_message)
        is_gone = "error" in reply  # archived or deleted while the bridge was away
        if is_gone:
            read = {"threadId": thread_id, "includeTurns": True}
            reply = connection.request("thread/read", read, self._handle_server_message)
            if "error" in reply:  # deleted, or too large to be read with its turns
                reply = connection.request("thread/read", {"threadId": thread_id}, self._handle_server_message)
        for message in self._session.catch_up(thread_id, reply, is_gone):
            self._write(orjson.dumps(message))
