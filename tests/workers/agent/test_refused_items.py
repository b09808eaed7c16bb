"""Items of a history that the model's provider refuses: they are left out, and the request is made once more."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import ModelError
from shared.store.threads import Thread
from shared.store.turns import NewTurn
from tests.builders import text_input
from tests.support import order
from tests.support.images import PNG, data_url
from tests.workers.agent.test_turn import inputs
from tests.workers.builders import Bench
from workers.agent import refused_items

IMAGE = {"type": "image", "url": data_url(PNG)}


def begin_with_image(bench: Bench, thread: Thread, text: str) -> None:
    new = NewTurn([*text_input(text), IMAGE], None, {}, {})
    bench.workers[0].store.turns.create_or_steer(thread.id, thread.owner, new, queued_limit=0)
    bench.run()


def images(items: list[dict[str, Any]]) -> list[int]:
    """Return the indexes of the items that have an image."""
    return [i for i, item in enumerate(items) if any("image_url" in part for part in item.get("content") or () if part)]


def warnings(bench: Bench, thread: Thread) -> list[str]:
    return [params["message"] for method, params in bench.events(thread) if method == "warning"]


@pytest.mark.parametrize("wire_api", ["by index", "by word"])
def test_image_that_the_provider_refuses_later_is_left_out_for_good(bench: Bench, wire_api: str) -> None:
    thread = bench.thread()
    begin_with_image(bench, thread, "[[say A dot.]]")
    (index,) = images(inputs(bench))
    name = f"Invalid value at input[{index}].content[1]" if wire_api == "by index" else "The image data is not valid"

    turn = bench.run_turn(thread, f"[[status 400 times=1 {name}]][[say On we go.]]")

    assert bench.turn(turn).status == "completed"
    assert [len(images(request.body["input"])) for request in bench.model.requests] == [1, 1, 0]
    assert inputs(bench)[index]["content"][1]["text"] == "[an image was left out: the model's provider refused it]"
    assert warnings(bench, thread) == ["1 items of the history were left out: the model's provider refused them"]
    assert bench.shown(thread)[0]["content"][1] == IMAGE
    assert bench.run_turn(thread, "next").status == "completed"
    assert len(bench.model.requests) == 4
    order.check(bench.events(thread))


def test_request_is_repeated_only_once_for_one_answer(bench: Bench) -> None:
    thread = bench.thread()
    begin_with_image(bench, thread, "[[say A dot.]]")
    begin_with_image(bench, thread, "[[say Another.]]")
    index = images(inputs(bench))[0]

    turn = bench.run_turn(thread, f"[[status 400 Invalid image at input[{index}]]]")

    assert bench.turn(turn).status == "failed"
    assert len(bench.model.requests) == 4


def test_old_message_is_left_out_and_a_new_one_fails_its_turn(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "[[say First.]]")
    old = next(i for i, item in enumerate(inputs(bench)) if item["content"][0]["text"] == "[[say First.]]")
    bench.run_turn(thread, f"[[status 400 times=1 too long: input[{old}]]][[say Second.]]")
    assert inputs(bench)[old]["content"][0]["text"].startswith("[a part of the history was left out")
    new = len(inputs(bench)) + 1

    turn = bench.run_turn(thread, f"[[status 400 times=1 too long: input[{new}]]]")

    assert inputs(bench)[new]["content"][0]["text"].startswith("[[status 400")
    assert bench.turn(turn).status == "failed"


@pytest.mark.parametrize("message", ["no", "input[0] is wrong", "input[999] is wrong", "The image is not valid"])
def test_refusal_that_names_nothing_of_the_history_fails_the_turn(bench: Bench, message: str) -> None:
    thread = bench.thread()

    assert bench.run_turn(thread, f"[[status 400 times=1 {message}]]").status == "failed"
    assert len(bench.model.requests) == 1
    assert warnings(bench, thread) == []


def test_encrypted_reasoning_that_the_provider_cannot_read_is_dropped(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "[[say First.]]")
    thought = {"type": "reasoning", "summary": [], "encrypted_content": "ZW5j"}
    bench.workers[0].store.histories.inject(thread.id, thread.owner, [thought], history_limit=0)

    turn = bench.run_turn(thread, "[[status 400 times=1 code=invalid_encrypted_content no]][[say Second.]]")

    assert bench.turn(turn).status == "completed"
    kinds = [[item["type"] for item in request.body["input"]] for request in bench.model.requests[1:]]
    assert ["reasoning" in one for one in kinds] == [True, False]
    assert bench.run_turn(thread, "next").status == "completed"
    assert len(bench.model.requests) == 4


@pytest.mark.parametrize(
    "failure", [{"http_status": 500}, {"http_status": 400, "info": "contextWindowExceeded"}, {"http_status": None}]
)
def test_only_a_refusal_of_the_request_leaves_items_out(bench: Bench, failure: dict[str, Any]) -> None:
    thread = bench.thread()
    begin_with_image(bench, thread, "[[say Seen.]]")
    rows = bench.items(thread)

    def left_out(**values: Any) -> dict[str, Any]:
        return refused_items.replacements(ModelError("the image is broken", **values), rows, [], "another turn")

    assert left_out(http_status=400)
    assert left_out(**failure) == {}
