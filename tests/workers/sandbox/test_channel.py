"""One connection to a tool runner: whole messages or an error, whatever the other end sends."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator

import pytest

from workers.sandbox import channel as channel_module
from workers.sandbox.channel import LENGTHS, MAX_MESSAGE_BYTES, Channel

Pair = tuple[Channel, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A channel, and the other end of its connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), theirs


def test_a_channel_is_quiet_until_the_other_end_sends_or_closes(pair: Pair) -> None:
    channel, theirs = pair
    assert channel.is_quiet()

    Channel(theirs).send({"a": 1})
    assert not channel.is_quiet()
    assert channel.receive() == ({"a": 1}, [])
    assert channel.is_quiet()
    theirs.close()

    assert not channel.is_quiet()
    assert channel.receive() is None


def test_large_messages_with_descriptors_arrive_whole(pair: Pair) -> None:
    channel, theirs = pair
    read, write = os.pipe()
    Channel(theirs).send({"data": b"x" * 10_000, "more": b"y", "words": ("a", b"z")}, [read])
    os.close(read)

    received = channel.receive()

    assert received is not None
    message, (fd,) = received
    assert message == {"data": b"x" * 10_000, "more": b"y", "words": ("a", b"z")}
    os.write(write, b"typed")
    assert os.read(fd, 5) == b"typed"
    os.close(fd)
    os.close(write)


@pytest.mark.parametrize(
    "text", [b"{", b"[1]", b'{"a": {"unknown": 1}}', b'{"a": {"path": 5}}', b'{"a": {"bytes": 1}}']
)
def test_what_is_no_message_is_refused_and_its_descriptors_are_closed(pair: Pair, text: bytes) -> None:
    channel, theirs = pair
    read, write = os.pipe()
    socket.send_fds(theirs, [LENGTHS.pack(len(text), 0)], [read])
    theirs.sendall(text)
    os.close(read)

    with pytest.raises(ValueError):  # noqa: PT011
        channel.receive()

    with pytest.raises(BrokenPipeError):
        os.write(write, b"nobody reads")
    os.close(write)


def test_a_message_that_is_too_long_is_not_read(pair: Pair) -> None:
    channel, theirs = pair
    theirs.sendall(LENGTHS.pack(MAX_MESSAGE_BYTES, 1))

    with pytest.raises(ValueError, match="too long"):
        channel.receive()


def test_a_message_of_exactly_the_limit_is_read(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    channel, theirs = pair
    text = json.dumps({"a": 1}).encode()
    monkeypatch.setattr(channel_module, "MAX_MESSAGE_BYTES", len(text))

    Channel(theirs).send({"a": 1})

    assert channel.receive() == ({"a": 1}, [])


def test_a_truncated_message_is_an_error(pair: Pair) -> None:
    channel, theirs = pair
    theirs.sendall(LENGTHS.pack(10, 0) + b"{")
    theirs.close()

    with pytest.raises(ConnectionResetError, match="truncated"):
        channel.receive()
