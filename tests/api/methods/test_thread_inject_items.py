"""thread/inject_items: what only the model sees."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.methods.test_thread_fork import make_said
from tests.builders import House, claim_turn, make_thread, make_turn

MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "by the way"}]}
CALL = {"type": "function_call", "call_id": "c", "name": "x", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "y"}


def test_injected_items_are_seen_by_the_model_in_their_place_and_by_no_client(house: House) -> None:
    thread = make_said(house, "one")
    client = house.connect()
    before = client.call("thread/items/list", {"threadId": thread.id})

    client.call("thread/inject_items", {"threadId": thread.id, "items": [MESSAGE, CALL, OUTPUT]})

    assert client.call("thread/items/list", {"threadId": thread.id}) == before
    make_turn(house.store, thread, "two")
    rows = house.store.read_step(claim_turn(house.store)).rows
    assert rows[-1].model_items == [MESSAGE, CALL, OUTPUT]


@pytest.mark.parametrize(
    "items",
    [[], [5], [{"type": "bogus"}], [{"type": "message", "role": "user"}], [CALL], [OUTPUT], [OUTPUT, CALL]],
)
def test_what_would_break_every_later_request_to_the_model_is_refused(house: House, items: list[Any]) -> None:
    thread = make_said(house, "one")

    error = house.connect().error("thread/inject_items", {"threadId": thread.id, "items": items})

    assert error["code"] == -32602


def test_an_active_thread_and_one_without_a_word_are_refused(house: House) -> None:
    active, silent = make_said(house, "one"), make_thread(house.store, house.config)
    make_turn(house.store, active, "two")
    client = house.connect()

    errors = [client.error("thread/inject_items", {"threadId": one.id, "items": [MESSAGE]}) for one in (active, silent)]

    assert [error["code"] for error in errors] == [-32600, -32600]
