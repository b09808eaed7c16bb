"""thread/list beside the original: previews of first messages, and folders whatever way they are written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.shared.protocol.test_user_input import PREVIEWS
from tests.support.deployment import Deployment
from tests.support.original_server import original_server, run_turn
from tests.support.protocol_client import ProtocolClient


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ProtocolClient]]:
    """Return a client of our server, and one of the original."""
    folder = tmp_path_factory.mktemp("original")
    with Deployment(tmp_path_factory.mktemp("server")) as server, original_server(folder, server.model) as original:
        yield [server.connect(), original]


def start(client: ProtocolClient, folder: Path | str) -> str:
    thread_id: str = client.request("thread/start", {"cwd": str(folder)})["thread"]["id"]
    return thread_id


@pytest.mark.parametrize(("parts", "shown"), PREVIEWS.values(), ids=PREVIEWS)
def test_first_messages_are_shown_as_by_the_original(
    clients: list[ProtocolClient], tmp_path: Path, parts: list[Any], shown: str
) -> None:
    for client in clients:
        thread_id = start(client, tmp_path)
        run_turn(client, thread_id, *parts)

        assert client.request("thread/read", {"threadId": thread_id})["thread"]["preview"] == shown

        run_turn(client, thread_id, "second")
        assert client.request("thread/read", {"threadId": thread_id})["thread"]["preview"] == (shown or "second")


def test_folders_are_found_as_by_the_original(clients: list[ProtocolClient], tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("a")
    wanted = {client: {name: start(client, tmp_path / name) for name in ("a", "link", "b")} for client in clients}

    for client, made in wanted.items():
        for thread_id in made.values():
            run_turn(client, thread_id, "hello")
        for written in ("a", "a/", "a/.", "link", "b/../a"):
            listed = client.request("thread/list", {"cwd": f"{tmp_path}/{written}"})["data"]
            assert {thread["id"] for thread in listed} == {made["a"], made["link"]}, written
        both = client.request("thread/list", {"cwd": [f"{tmp_path}/a/", f"{tmp_path}/b"]})["data"]
        assert {thread["id"] for thread in both} == set(made.values())
        assert client.request("thread/list", {"cwd": []})["data"] == []
