"""thread/items/list: pages of completed items."""

from __future__ import annotations

from typing import Any

from tests.api.methods.test_thread_fork import make_answered, turn_ids
from tests.builders import Backend, Client


def texts(client: Client, **params: Any) -> list[str]:
    return [row["item"]["text"] for row in client.call("thread/items/list", params)["data"]]


def test_a_page_can_begin_after_an_item_of_a_turn(backend: Backend) -> None:
    thread = make_answered(backend, "one", "two")
    client = backend.connect()
    [first, second] = client.call("thread/items/list", {"threadId": thread.id})["data"]
    turn_id = turn_ids(backend, thread)[1]
    anchor = {"type": "item", "itemId": second["item"]["id"]}

    assert texts(client, threadId=thread.id, turnId=turn_id) == ["TWO"]
    assert texts(client, threadId=thread.id, turnId=turn_id, cursor=anchor) == []
    foreign = {"type": "item", "itemId": first["item"]["id"]}
    error = client.error("thread/items/list", {"threadId": thread.id, "turnId": turn_id, "cursor": foreign})
    assert error["message"] == f"invalid cursor: {first['item']['id']}"


def test_a_paginated_thread_is_read_backwards_from_the_cursor_of_resume(backend: Backend) -> None:
    thread = make_answered(backend, "one", "two", "three", history_mode="paginated")
    client = backend.connect()
    resumed = client.call("thread/resume", {"threadId": thread.id, "excludeTurns": True})

    desc = {"threadId": thread.id, "sortDirection": "desc"}
    cursor = {"cursor": resumed["turnsBackwardsCursor"], "limit": 2, "itemsView": "notLoaded"}
    first = client.call("thread/turns/list", {**desc, **cursor})
    second = client.call("thread/turns/list", {**desc, "cursor": first["nextCursor"]})

    assert (resumed["thread"]["historyMode"], resumed["thread"]["turns"]) == ("paginated", [])
    assert [turn["id"] for turn in first["data"] + second["data"]] == turn_ids(backend, thread)[::-1]
    assert second["nextCursor"] is None
    assert texts(client, **desc, cursor=resumed["itemsBackwardsCursor"]) == ["THREE", "TWO", "ONE"]
