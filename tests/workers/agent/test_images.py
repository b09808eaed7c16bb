"""Images in the input: what the model receives of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from shared.store.threads import Thread
from shared.store.turns import NewTurn
from tests.builders import text_input
from tests.support import order
from tests.support.images import PNG, REFUSED_URLS, data_url, png
from tests.workers.agent.test_turn import inputs
from tests.workers.builders import Bench
from workers.agent import input_images
from workers.workspace.folders import workspace_for

SHOWN = data_url(PNG)


def warnings(bench: Bench, thread: Thread) -> list[str]:
    return [params["message"] for method, params in bench.events(thread) if method == "warning"]


def run_turn_with(bench: Bench, thread: Thread, *parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a turn with these parts; return the parts after its text as the model received them."""
    new = NewTurn([*text_input("look"), *parts], None, {}, {})
    bench.workers[0].store.turns.create_or_steer(thread.id, thread.owner, new, queued_limit=0)
    bench.run()
    order.check(bench.events(thread))
    assert bench.shown(thread)[0]["content"][1:] == list(parts)
    found: list[dict[str, Any]] = inputs(bench)[-1]["content"][1:]
    return found


def test_image_by_path_is_read_and_sent(bench: Bench) -> None:
    (bench.cwd / "a.png").write_bytes(PNG)

    parts = run_turn_with(bench, bench.thread(), {"type": "localImage", "path": str(bench.cwd / "a.png")})

    assert parts == [{"type": "input_image", "image_url": SHOWN}]


@pytest.mark.parametrize("url", [SHOWN, SHOWN.replace("png", "gif")])
def test_image_by_data_url_is_passed_on_with_its_real_type(bench: Bench, url: str) -> None:
    thread = bench.thread()

    assert run_turn_with(bench, thread, {"type": "image", "url": url}) == [{"type": "input_image", "image_url": SHOWN}]
    assert warnings(bench, thread) == []


@pytest.mark.parametrize("url", [*REFUSED_URLS.values(), "https://example.com/a.png"])
def test_image_that_models_refuse_is_left_out_and_user_and_model_are_told(bench: Bench, url: str) -> None:
    thread = bench.thread()

    (part,) = run_turn_with(bench, thread, {"type": "image", "url": url})

    assert part["type"] == "input_text"
    assert part["text"].startswith("[an image was left out: ")
    assert warnings(bench, thread) == [part["text"].strip("[]")]


def test_image_of_an_interrupted_turn_is_checked_too(bench: Bench) -> None:
    thread = bench.thread()
    store = bench.workers[0].store
    new = NewTurn([{"type": "image", "url": "data:image/png;base64,"}], None, {}, {})
    turn, _ = store.turns.create_or_steer(thread.id, thread.owner, new, queued_limit=0)

    store.turns.interrupt(thread.id, thread.owner, turn.id)

    (row,) = bench.items(thread)
    assert [part["type"] for part in row.model_items[0]["content"]] == ["input_text"]


@pytest.mark.parametrize("name", ["missing.png", "text.png", "..", "folder", "secret"])
def test_unreadable_image_is_explained_in_text(bench: Bench, name: str) -> None:
    (bench.cwd / "text.png").write_text("no picture")
    (bench.cwd / "folder").mkdir()
    (bench.cwd / "secret").symlink_to(bench.home / "threadhouse.sqlite3")

    (part,) = run_turn_with(bench, bench.thread(), {"type": "localImage", "path": str(bench.cwd / name)})

    assert part["type"] == "input_text"
    assert part["text"].startswith("[an image was left out: ")


def test_image_of_a_local_user_may_be_where_commands_see_nothing(bench: Bench) -> None:
    with tempfile.NamedTemporaryFile(dir="/tmp", suffix=".png") as screenshot:
        screenshot.write(PNG)
        screenshot.flush()

        parts = run_turn_with(bench, bench.thread(), {"type": "localImage", "path": screenshot.name})

    assert parts == [{"type": "input_image", "image_url": SHOWN}]


def test_missing_image_is_said_to_be_missing_on_the_server(bench: Bench) -> None:
    thread = bench.thread()
    path = bench.cwd / "missing.png"

    run_turn_with(bench, thread, {"type": "localImage", "path": str(path)})

    assert warnings(bench, thread) == [f"an image was left out: {path}: no such file on the server"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (PNG[: len(PNG) // 2], "it is cut off"),
        (b"", "it is empty"),
        (b"<svg/>", "it is not a PNG, JPEG, GIF or WebP image"),
    ],
)
def test_user_and_model_are_told_of_an_image_that_cannot_be_viewed(bench: Bench, data: bytes, reason: str) -> None:
    (bench.cwd / "a.png").write_bytes(data)
    thread = bench.thread()

    turn = bench.run_turn(thread, '[[tool view_image {"path": "a.png"}]]')
    later = bench.run_turn(thread, "[[say And on.]]")

    told = f"{bench.cwd / 'a.png'}: {reason}"
    assert warnings(bench, thread) == [told]
    assert [item["output"] for item in inputs(bench) if item["type"] == "function_call_output"] == [told]
    assert (turn.status, later.status) == ("completed", "completed")


def test_hosted_user_cannot_read_images_outside_the_workspace(bench: Bench) -> None:
    outside: Path = bench.cwd / "a.png"
    outside.write_bytes(PNG)
    thread = bench.thread(owner="somebody")
    own = workspace_for(bench.workers[0].config.server.workspaces_dir, "somebody", thread.id)
    bench.workers[0].store.threads.change_settings(thread.id, "somebody", {"cwd": str(own)})

    (part,) = run_turn_with(bench, thread, {"type": "localImage", "path": str(outside)})

    assert part["type"] == "input_text"


def test_images_of_one_message_share_a_size_limit(bench: Bench) -> None:
    (bench.cwd / "a.png").write_bytes(png(filler=input_images.MAX_CHARACTERS * 2 // 5))
    image = {"type": "localImage", "path": str(bench.cwd / "a.png")}
    url = data_url((bench.cwd / "a.png").read_bytes())

    parts = run_turn_with(bench, bench.thread(), image, {"type": "image", "url": url})

    assert [part["type"] for part in parts] == ["input_image", "input_text"]
