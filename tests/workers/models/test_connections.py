"""Reading of answers whose events have gathered, and cuts while they are read."""

from __future__ import annotations

import fcntl
import io
import socket
import ssl
import sys
import termios
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.config import Provider
from tests.support.certificate import make_certificate
from tests.support.wait import until
from workers.models import connections
from workers.models.client import Stream

DEADLINE_SECONDS = 20
EVENTS = 100
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class EagerServer:
    """A server that sends all events of an answer at once, each in a TLS record of its own, and then waits.

    has_sent: set when the client's kernel has all of them"""

    def __init__(self, certfile: Path | None) -> None:
        self._certfile = certfile
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE_SECONDS)
        scheme = "https" if certfile else "http"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.has_sent = threading.Event()
        self.ends = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> EagerServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ends.set()
        self._thread.join(DEADLINE_SECONDS)
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        if self._certfile is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certfile)
            connection = context.wrap_socket(connection, server_side=True)
        with connection:
            connection.recv(65536)
            connection.sendall(HEAD)
            for number in range(EVENTS):
                event = b'data: {"type": "test", "number": %d}\n\n' % number
                connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
            until(lambda: not unacknowledged_bytes(connection))
            self.has_sent.set()
            self.ends.wait(DEADLINE_SECONDS)


def unacknowledged_bytes(connection: socket.socket) -> int:
    """Return how much the kernel of the other side has not received."""
    count = array("i", [0])
    fcntl.ioctl(connection, termios.TIOCOUTQ, count)
    return count[0]


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EagerServer]:
    certfile = make_certificate(tmp_path, "127.0.0.1") if request.param == "https" else None
    if certfile is not None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certfile))
    with EagerServer(certfile) as server:
        yield server


@pytest.fixture(autouse=True)
def _long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an answer wait for ever where it waits at all."""
    monkeypatch.setattr(connections, "_pace", connections._Pace())
    monkeypatch.setattr(connections, "READS_PER_SECOND", 1e-9)
    monkeypatch.setattr(connections, "LONGEST_PAUSE_SECONDS", 3600.0)


def provider_at(server: EagerServer) -> Provider:
    return Provider("mock", server.url, request_max_retries=0)


@contextmanager
def reading(server: EagerServer) -> Iterator[tuple[Stream, list[int], list[BaseException]]]:
    """Read an answer in a thread, once all of it has been sent: the stream, the numbers of its events, its failures."""
    stream = Stream(provider_at(server), "/responses", {}, b"{}")
    numbers: list[int] = []
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for event in stream.events():
                server.has_sent.wait(DEADLINE_SECONDS)
                numbers.append(event["number"])
        except BaseException as error:  # noqa: BLE001 - given to the test
            failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield stream, numbers, failures
    finally:
        stream.cut()
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()
        stream.close()


def test_everything_that_is_there_is_read_without_a_pause(server: EagerServer) -> None:
    with reading(server) as (_, numbers, failures):
        until(lambda: len(numbers) == EVENTS or failures)

    assert numbers == list(range(EVENTS))


def test_cut_ends_the_pause_of_an_answer(server: EagerServer) -> None:
    with reading(server) as (stream, numbers, failures):
        until(lambda: len(numbers) == EVENTS or failures)

        stream.cut()
        until(lambda: failures)

    assert [type(error) for error in failures] == [connections.Cut]


def test_what_came_before_a_cut_is_not_read_after_it(server: EagerServer) -> None:
    stream = Stream(provider_at(server), "/responses", {}, b"{}")
    events = stream.events()
    next(events)
    assert server.has_sent.wait(DEADLINE_SECONDS)

    stream.cut()
    given: list[int] = []
    with pytest.raises(connections.Cut):
        given.extend(event["number"] for event in events)

    assert len(given) < 2
    stream.close()


def test_answers_begin_and_end_while_those_that_stream_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "COUNTED_EVERY_SECONDS", 0.0)
    pace, stops = connections._pace, threading.Event()
    ours, theirs = socket.socketpair()

    def begin_answers() -> None:
        while not stops.is_set():
            begun = [connections._PacedReader(io.BytesIO(), ours, stops) for _ in range(20)]  # type: ignore[arg-type]
            for one in begun[::2]:
                one.close()

    threads = [threading.Thread(target=begin_answers) for _ in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for second in range(3000):
            pace.pause_seconds(second)
    finally:
        stops.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join(DEADLINE_SECONDS)
        ours.close()
        theirs.close()
