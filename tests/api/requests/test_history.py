"""What answers hold of a thread that is too large for one of them."""

from __future__ import annotations

from typing import Any

import pytest

from api.requests import history
from shared.store import histories
from shared.store.items import Items
from shared.store.threads import Thread
from tests.api.methods.test_thread_fork import answers, make_answered, turn_ids
from tests.builders import Backend, Client, claim_turn, end_turn, make_message, make_turn

LIMIT = 2000  # bytes of one answer
LARGE = "x" * 1200  # two do not fit
HUGE = "x" * LIMIT  # does not fit alone


@pytest.fixture(autouse=True)
def small_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ANSWER_BYTES", LIMIT)


def add_turn(backend: Backend, thread: Thread, *messages: str) -> None:
    make_turn(backend.store, thread, "more")
    claim = claim_turn(backend.store)
    for text in messages:
        make_message(backend.store, claim, text)
    end_turn(backend.store, claim)


def views(turns: list[dict[str, Any]]) -> list[str]:
    return [turn["itemsView"] for turn in turns]


def pages(client: Client, method: str, **params: Any) -> list[list[dict[str, Any]]]:
    """Return all pages of a list."""
    found, cursor = [], None
    while not found or cursor:
        page = client.call(method, {**params, "cursor": cursor})
        found.append(page["data"])
        cursor = page["nextCursor"]
    return found


def test_a_thread_that_is_too_large_is_not_read_whole(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = make_answered(backend, LARGE, LARGE)
    client = backend.connect()
    monkeypatch.setattr(Items, "completed", lambda *_, **__: pytest.fail("items were loaded"))

    error = client.error("thread/read", {"threadId": thread.id, "includeTurns": True})

    assert error["code"] == -32600
    assert "thread/turns/list" in error["message"]
    assert client.call("thread/read", {"threadId": thread.id})["thread"]["id"] == thread.id


def test_a_page_of_turns_ends_before_it_is_too_large(backend: Backend) -> None:
    thread = make_answered(backend, "one", "two", LARGE, LARGE)

    found = pages(
        backend.connect(), "thread/turns/list", threadId=thread.id, itemsView="full", sortDirection="asc", limit=4
    )

    assert [len(page) for page in found] == [3, 1]
    assert [turn["id"] for page in found for turn in page] == turn_ids(backend, thread)
    assert {view for page in found for view in views(page)} == {"full"}


def test_a_turn_that_alone_is_too_large_comes_as_its_summary(backend: Backend) -> None:
    thread = make_answered(backend, "one")
    add_turn(backend, thread, "first", HUGE, "last")
    client = backend.connect()

    first, second = pages(client, "thread/turns/list", threadId=thread.id, itemsView="full")

    assert (views(first), answers(first)) == (["summary"], ["last"])
    assert (views(second), answers(second)) == (["full"], ["ONE"])


def test_a_turn_whose_summary_is_too_large_comes_without_items(backend: Backend) -> None:
    thread = make_answered(backend, HUGE)

    [[turn]] = pages(backend.connect(), "thread/turns/list", threadId=thread.id)

    assert (turn["itemsView"], turn["items"]) == ("notLoaded", [])


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_a_page_of_items_ends_before_it_is_too_large(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    monkeypatch.setattr("api.methods.thread_items_list.ANSWER_BYTES", LIMIT)
    thread = make_answered(backend, "one")
    add_turn(backend, thread, "two", LARGE, HUGE, LARGE)

    found = pages(backend.connect(), "thread/items/list", threadId=thread.id, sortDirection=direction)

    texts = [[row["item"]["text"] for row in page] for page in found]
    assert texts == (
        [["ONE", "two", LARGE], [HUGE], [LARGE]] if direction == "asc" else [[LARGE], [HUGE], [LARGE, "two", "ONE"]]
    )


def test_resume_gives_the_newest_turns_of_a_thread_that_is_too_large(backend: Backend) -> None:
    thread = make_answered(backend, LARGE, "two", LARGE)
    client = backend.connect()

    turns = client.call("thread/resume", {"threadId": thread.id})["thread"]["turns"]

    assert [turn["id"] for turn in turns] == turn_ids(backend, thread)
    assert views(turns) == ["notLoaded", "full", "full"]
    assert answers(turns) == ["TWO", LARGE.upper()]
    warning = client.wait_for_method("warning")["params"]
    assert warning["threadId"] == thread.id
    assert "1 of its turns" in warning["message"]
    client.call("turn/start", {"threadId": thread.id, "input": [{"type": "text", "text": "go on"}]})


def test_resume_gives_the_summary_of_a_last_turn_that_is_too_large(backend: Backend) -> None:
    thread = make_answered(backend, "one")
    add_turn(backend, thread, HUGE, "last")

    turns = backend.connect().call("thread/resume", {"threadId": thread.id})["thread"]["turns"]

    assert views(turns) == ["notLoaded", "summary"]
    assert answers(turns) == ["last"]


def test_no_items_of_a_large_turn_are_loaded_when_turns_are_excluded(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = make_answered(backend, "one")
    add_turn(backend, thread, HUGE, "last")
    loaded: list[bool] = []
    completed = Items.completed
    monkeypatch.setattr(
        Items, "completed", lambda *args, summary=False: loaded.append(summary) or completed(*args, summary=summary)
    )

    backend.connect().call("thread/resume", {"threadId": thread.id, "excludeTurns": True})

    assert loaded == [True]


def test_rollback_and_fork_answer_with_the_newest_turns(backend: Backend) -> None:
    thread = make_answered(backend, LARGE, LARGE, "three")
    client = backend.connect()

    forked = client.call("thread/fork", {"threadId": thread.id})["thread"]
    left = client.call("thread/rollback", {"threadId": thread.id, "numTurns": 1})["thread"]

    assert views(forked["turns"]) == ["notLoaded", "full", "full"]
    assert views(left["turns"]) == ["notLoaded", "full"]
    whole = pages(client, "thread/turns/list", threadId=forked["id"], itemsView="full", sortDirection="asc")
    assert answers([turn for page in whole for turn in page]) == [LARGE.upper(), LARGE.upper(), "THREE"]


def test_a_thread_that_is_too_large_to_copy_is_forked_at_an_earlier_turn(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "FORK_BYTES", LIMIT)
    thread = make_answered(backend, "one", LARGE, LARGE)
    client = backend.connect()

    error = client.error("thread/fork", {"threadId": thread.id})
    forked = client.call("thread/fork", {"threadId": thread.id, "lastTurnId": turn_ids(backend, thread)[1]})

    assert (error["code"], "lastTurnId" in error["message"]) == (-32600, True)
    assert answers(forked["thread"]["turns"]) == ["ONE", LARGE.upper()]
