"""Images in the input: what the model is shown of them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from shared.store.threads import Thread
from shared.store.turns import NewTurn
from tests.builders import text_input
from tests.support import order
from tests.workers.agent.test_turn import inputs
from tests.workers.builders import Bench
from workers.agent import input_images
from workers.workspace import workspace_for

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
SHOWN = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


def say_with(bench: Bench, thread: Thread, *parts: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of the message as the model got them, behind its text."""
    new = NewTurn([*text_input("look"), *parts], None, {}, {})
    bench.workers[0].store.turns.create_or_steer(thread.id, thread.owner, new, queued_limit=0)
    bench.run()
    order.check(bench.events(thread))
    assert bench.shown(thread)[0]["content"][1:] == list(parts)
    found: list[dict[str, Any]] = inputs(bench)[-1]["content"][1:]
    return found


def test_a_picture_by_its_path_is_read_and_shown(bench: Bench) -> None:
    (bench.cwd / "a.png").write_bytes(PNG)

    parts = say_with(bench, bench.thread(), {"type": "localImage", "path": str(bench.cwd / "a.png")})

    assert parts == [{"type": "input_image", "image_url": SHOWN}]


@pytest.mark.parametrize("url", [SHOWN, "https://example.com/a.png"])
def test_a_picture_by_its_url_is_passed_on(bench: Bench, url: str) -> None:
    assert say_with(bench, bench.thread(), {"type": "image", "url": url}) == [{"type": "input_image", "image_url": url}]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://127.0.0.1/a.png", "data:text/html,x", ""])
def test_other_urls_are_named_and_not_passed_on(bench: Bench, url: str) -> None:
    (part,) = say_with(bench, bench.thread(), {"type": "image", "url": url})

    assert part["type"] == "input_text"
    assert "not passed on" in part["text"]


@pytest.mark.parametrize("name", ["missing.png", "text.png", "..", "folder", "secret"])
def test_what_cannot_be_shown_is_told(bench: Bench, name: str) -> None:
    (bench.cwd / "text.png").write_text("no picture")
    (bench.cwd / "folder").mkdir()
    (bench.cwd / "secret").symlink_to(bench.home / "threadhouse.sqlite3")

    (part,) = say_with(bench, bench.thread(), {"type": "localImage", "path": str(bench.cwd / name)})

    assert part["type"] == "input_text"
    assert part["text"].startswith("[an image of the user that could not be read: ")


def test_a_user_of_a_server_sees_nothing_outside_of_the_own_workspace(bench: Bench) -> None:
    outside: Path = bench.cwd / "a.png"
    outside.write_bytes(PNG)
    thread = bench.thread(owner="somebody")
    own = workspace_for(bench.workers[0].config.server.workspaces_dir, "somebody", thread.id)
    bench.workers[0].store.threads.change_settings(thread.id, "somebody", {"cwd": str(own)})

    (part,) = say_with(bench, thread, {"type": "localImage", "path": str(outside)})

    assert part["type"] == "input_text"


def test_pictures_of_one_message_are_bounded_together(bench: Bench) -> None:
    (bench.cwd / "a.png").write_bytes(PNG + bytes(input_images.MAX_CHARACTERS * 2 // 5))
    image = {"type": "localImage", "path": str(bench.cwd / "a.png")}

    parts = say_with(bench, bench.thread(), image, image)

    assert [part["type"] for part in parts] == ["input_image", "input_text"]
