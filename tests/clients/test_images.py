"""Broken, missing and remote images beside the original: the turn goes on, and the model reads why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment
from tests.support.images import GIF, JPEG, PNG, WEBP, data_url
from tests.support.original_server import original_server, run_turn
from tests.support.protocol_client import ProtocolClient, RpcError

BROKEN = {
    "empty.png": b"",
    "three-bytes.png": b"\0\0\0",
    "half.png": PNG[: len(PNG) // 2],
    "half.jpg": JPEG[: len(JPEG) // 2],
    "half.gif": GIF[: len(GIF) // 2],
    "half.webp": WEBP[: len(WEBP) // 2],
    "text.png": b"no image",
    "drawing.svg": b"<svg/>",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(tmp_path_factory.mktemp("server")) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def clients(server: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ProtocolClient]]:
    """Return a client of our server, and one of the original."""
    with original_server(tmp_path_factory.mktemp("original"), server.model) as original:
        yield [server.connect(), original]


def start(client: ProtocolClient, folder: Path) -> str:
    for name, data in BROKEN.items():
        (folder / name).write_bytes(data)
    thread_id: str = client.request("thread/start", {"cwd": str(folder)})["thread"]["id"]
    return thread_id


def ended(events: list[dict[str, Any]]) -> tuple[str, bool]:
    """Return how the turn ended, and whether the user was told of an image."""
    told = [event["params"]["message"] for event in events if event["method"] == "warning"]
    return events[-1]["params"]["turn"]["status"], any("image" in text or ".png" in text for text in told)


def images_sent(server: Deployment) -> list[Any]:
    parts = [part for item in server.model.requests[-1].body["input"] for part in item.get("content") or []]
    return [part for part in parts if part["type"] == "input_image"]


@pytest.mark.parametrize("name", [*BROKEN, "missing.png"])
@pytest.mark.parametrize("kind", ["image", "localImage"])
def test_turns_go_on_without_a_broken_image(
    server: Deployment, clients: list[ProtocolClient], tmp_path: Path, kind: str, name: str
) -> None:
    seen = []
    for client in clients:
        thread_id = start(client, tmp_path)
        url = {"url": data_url(BROKEN.get(name, b""))}
        part = {"type": kind, **(url if kind == "image" else {"path": str(tmp_path / name)})}
        seen.append(ended(run_turn(client, thread_id, "look", part)))
        assert ended(run_turn(client, thread_id, "and later"))[0] == "completed"
        assert images_sent(server) == []

    assert seen == [("completed", True), ("completed", False)]


def test_turns_go_on_behind_a_broken_image_that_the_model_views(
    server: Deployment, clients: list[ProtocolClient], tmp_path: Path
) -> None:
    seen = []
    for client in clients:
        thread_id = start(client, tmp_path)
        seen.append(ended(run_turn(client, thread_id, '[[tool view_image {"path": "half.png"}]]')))
        outputs = [item["output"] for item in server.model.requests[-1].body["input"] if "output" in item]
        assert [type(output) for output in outputs] == [str]
        assert ended(run_turn(client, thread_id, "and later"))[0] == "completed"

    assert seen == [("completed", True), ("completed", False)]


def test_image_elsewhere_is_refused_in_the_words_of_the_original(clients: list[ProtocolClient], tmp_path: Path) -> None:
    messages = []
    for client in clients:
        with pytest.raises(RpcError) as error:
            run_turn(client, start(client, tmp_path), {"type": "image", "url": "https://example.invalid/a.png"})
        messages.append((error.value.code, error.value.message))

    assert messages[0] == messages[1]
