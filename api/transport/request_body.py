"""Read the body of an HTTP request: within its size, its deadlines and what its user may hold of this process's memory.

A body is read in pieces, and other requests have their turn after each. What is left of a body that was refused is
read and dropped for a moment, so that the client gets the answer, and then the connection closes.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import gevent
from flask import request
from gunicorn.http.errors import NoMoreData, ParseException
from werkzeug.exceptions import ClientDisconnected
from werkzeug.wsgi import ClosingIterator

from api.access.capacity import BodyReservation
from shared.errors import BodyTooLarge, InvalidRequest, RequestTimeout

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PIECE_BYTES = 256 * 1024  # gunicorn copies what it has received ahead, up to 1 MiB, for every piece
FIRST_PIECE_BYTES = (
    1024  # of a body of unknown length: it may have come in the smallest chunks, which take long to read
)
SLOW_PIECE_SECONDS = 0.002  # a piece that takes longer to read is followed by a smaller one
SLOW_PIECE_PAUSE_SECONDS = 0.02
PIECE_SECONDS = 20.0  # in which each piece has to arrive
DROPPED_BYTES = 4 << 20  # that are read of a body after its request was answered
DROPPED_SECONDS = 2.0
DROPPED_PAUSE_SECONDS = 0.01  # after every RECEIVE_BYTES
RECEIVE_BYTES = 64 * 1024


def read_body(reserved: BodyReservation, most_bytes: int, seconds: float, *, too_large: str) -> bytes:
    """Return the whole body of the request. reserved: grows with it. Errors: as of `read_pieces`; Overloaded."""
    reserved.grow_to(request.content_length or 0)
    body = bytearray()
    for piece in read_pieces(reserved, most_bytes, seconds, too_large=too_large):
        body += piece
        reserved.grow_to(len(body))
    return bytes(body)


def read_pieces(reserved: BodyReservation, most_bytes: int, seconds: float, *, too_large: str) -> Iterator[bytes]:
    """Yield the body of the request piece by piece.

    reserved:  counts how fast its user sends
    seconds:   for the whole body
    too_large: the message for a body of more than most_bytes
    Errors:    BodyTooLarge, RequestTimeout, InvalidRequest (it breaks off, or its chunks are malformed)
    """
    length = request.content_length
    if (length or 0) > most_bytes:
        raise BodyTooLarge(too_large)
    request.max_content_length = None  # the loop below counts the bytes
    size = 0
    with _broken_off():
        for piece in _pieces(request.stream.read, time.monotonic() + seconds, known=length is not None):
            size += len(piece)
            if size > most_bytes:
                raise BodyTooLarge(too_large)
            yield piece
            if pause_s := reserved.pause_after(len(piece)):
                gevent.sleep(pause_s)
    if length is not None and size != length:
        raise InvalidRequest("the body breaks off; send it again")


def _pieces(read: Callable[[int], bytes], until_s: float, *, known: bool) -> Iterator[bytes]:
    """Yield pieces until the end. known: whether the length of the body is. Errors: RequestTimeout."""
    piece_bytes = PIECE_BYTES if known else FIRST_PIECE_BYTES
    while True:
        late = RequestTimeout("the body did not arrive in time; send it again, faster or in parts")
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise late
        begun = time.thread_time()
        with gevent.Timeout(min(PIECE_SECONDS, left_s), late):
            piece = read(piece_bytes)
        if not piece:
            return
        is_slow = not known and time.thread_time() - begun > SLOW_PIECE_SECONDS
        yield piece
        if not is_slow:
            piece_bytes = min(2 * piece_bytes, PIECE_BYTES)
            gevent.sleep(0)  # a socket that always has data never waits
        else:
            piece_bytes = FIRST_PIECE_BYTES
            gevent.sleep(SLOW_PIECE_PAUSE_SECONDS)


@contextmanager
def _broken_off() -> Iterator[None]:
    try:
        yield
    except (ParseException, NoMoreData, ClientDisconnected, OSError):
        raise InvalidRequest("the body breaks off, or its chunks are malformed; send it again") from None


def drop_rest(application: WSGIApplication) -> WSGIApplication:
    """Return the application, with what is left of each body dropped once its request was answered."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return ClosingIterator(application(environ, start_response), lambda: _drop(environ))

    return answer


def _drop(environ: WSGIEnvironment) -> None:
    """Read and drop what is left of the body. Have the connection closed when that is much."""
    body = environ["wsgi.input"]
    size = 0
    try:
        for piece in _pieces(body.read, time.monotonic() + DROPPED_SECONDS, known="CONTENT_LENGTH" in environ):
            size += len(piece)
            if size > PIECE_BYTES:
                break
        else:
            return
        _drop_bytes(environ["gunicorn.socket"])
    except (RequestTimeout, ParseException, NoMoreData, OSError):
        pass
    body.failed = True  # gunicorn closes a connection of which it does not know where the next request begins


def _drop_bytes(connection: socket.socket) -> None:
    """Read and drop what the client still sends, so that it is not interrupted before it has read the answer."""
    until_s = time.monotonic() + DROPPED_SECONDS
    left = DROPPED_BYTES
    buffer = bytearray(RECEIVE_BYTES)
    while left > 0 and (left_s := until_s - time.monotonic()) > 0:
        with gevent.Timeout(left_s, False):
            received = connection.recv_into(buffer)
            if not received:
                return
            left -= received
        gevent.sleep(DROPPED_PAUSE_SECONDS)
