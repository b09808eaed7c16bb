"""thread/search and thread/search/stream: terms, snippets, pages, partial answers and cancels."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from shared.ids import new_id
from shared.protocol.items import agent_message
from shared.store.items import Item, append
from shared.store.searches import Searches
from tests.api.methods.test_thread_list import make_listed
from tests.builders import Backend, Client, claim_turn, end_turn, make_message, make_thread, make_turn
from tests.support.wait import DEADLINE_SECONDS

METHODS = ("thread/search", "thread/search/stream")


def say(backend: Backend, number: int, *texts: str, **values: Any) -> str:
    """Make a thread with messages of the agent."""
    thread_id = make_listed(backend, number, **values)
    rows = [
        Item(new_id(), thread_id, new_id(), position, "agentMessage", item=agent_message(text), completed_at_ms=1)
        for position, text in enumerate(texts)
    ]
    with backend.store.database.write() as connection:
        append(connection, rows)
    return thread_id


def found(client: Client, method: str = "thread/search", **params: Any) -> list[str]:
    return [row["thread"]["id"] for row in client.call(method, params)["data"]]


@pytest.mark.parametrize(
    ("text", "term", "snippet"),
    [
        ("The Apple pie", "apple", "The Apple pie"),
        ("one\n\n  two   needle\tthere  ", "  TWO needle ", "one two needle there"),
        ("100% of_it", "0% OF_I", "100% of_it"),
        ('say "yes\\no"', '"yes\\NO', 'say "yes\\no"'),
        ("Ünïcode straße 日本語", "ÜNÏC", "Ünïcode straße 日本語"),
        ("Ünïcode straße 日本語", "straße 日本", "Ünïcode straße 日本語"),
        ("a" * 60 + "needle" + "b" * 100, "needle", "... " + "a" * 49 + "needle" + "b" * 96 + " ..."),
    ],
)
def test_a_message_is_found_by_any_part_of_it(backend: Backend, text: str, term: str, snippet: str) -> None:
    wanted = say(backend, 1, "something else", text, text)
    say(backend, 2, text, owner="somebody")
    say(backend, 3, text, archived_at_ms=1)
    say(backend, 4, "nothing")

    [row] = backend.connect().call("thread/search", {"searchTerm": term})["data"]

    assert (row["thread"]["id"], row["snippet"]) == (wanted, snippet)


@pytest.mark.parametrize("term", ["kind", "agentMessage", "phase", "two\nline", "need  le"])
def test_what_no_message_has_is_not_found(backend: Backend, term: str) -> None:
    say(backend, 1, "two\nline")

    assert found(backend.connect(), searchTerm=term) == []


@pytest.mark.parametrize("method", METHODS)
def test_pages_go_through_all_threads_both_ways(backend: Backend, method: str) -> None:
    made = [say(backend, number, "needle" if number % 3 else "other") for number in range(100)]
    wanted = [thread_id for number, thread_id in enumerate(made) if number % 3]
    client = backend.connect()

    for direction, expected in (("desc", wanted[::-1]), ("asc", wanted)):
        seen, cursor = [], None
        while True:
            params = {"searchTerm": "needle", "limit": 20, "sortDirection": direction, "cursor": cursor}
            page = client.call(method, params)
            seen += [row["thread"]["id"] for row in page["data"]]
            cursor = page["nextCursor"]
            if cursor is None:
                break
        assert seen == expected
    assert len(found(client, method, searchTerm="needle")) == 25
    assert found(client, method, searchTerm="needle", sourceKinds=["cli"]) == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"searchTerm": " "}, " requires a non-empty searchTerm"),
        ({"searchTerm": "é" * 40_000}, " searchTerm exceeds 65536 UTF-8 bytes"),
        ({"searchTerm": "x", "cursor": "bad"}, "invalid cursor: bad"),
        ({"searchTerm": "x", "sortKey": "name"}, "unknown variant `name`, expected one of `created_at`"),
        ({"searchTerm": "x", "newFilter": 1}, "unknown field `newFilter`"),
    ],
)
def test_malformed_params_are_refused(backend: Backend, method: str, params: dict[str, Any], message: str) -> None:
    error = backend.connect().error(method, params)

    assert error["code"] in (-32600, -32602)
    assert message.removeprefix(" ") in error["message"]
    assert not message.startswith(" ") or error["message"].startswith(method)


def test_a_stream_sends_what_it_finds_on_the_way(backend: Backend) -> None:
    made = [say(backend, number, "needle") for number in range(70)]
    client = backend.connect()

    reply = client.reply("thread/search/stream", {"searchTerm": "needle", "limit": 50})

    partials = [frame["params"] for frame in client.frames if frame.get("method") == "thread/search/partial"]
    sent = [row["thread"]["id"] for partial in partials for row in partial["data"]]
    assert {partial["requestId"] for partial in partials} == {reply["id"]}
    assert sent == made[: -1 - len(sent) : -1]
    assert 20 <= len(sent) == len(set(sent))
    assert [row["thread"]["id"] for row in reply["result"]["data"]] == made[:19:-1]


@pytest.mark.parametrize("method", METHODS)
def test_a_search_can_be_cancelled_by_its_own_cancel_only(
    backend: Backend, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        say(backend, number, "needle")
    began, goes_on = hold_searches(monkeypatch)
    client = backend.connect()
    client.send({"id": "search", "method": method, "params": {"searchTerm": "other"}})
    assert began.wait(DEADLINE_SECONDS)

    for name in METHODS:
        assert client.call(f"{name}/cancel", {"requestId": 12345}) == {}
        if name != method:
            assert client.call(f"{name}/cancel", {"requestId": "search"}) == {}
    assert client.call(f"{method}/cancel", {"requestId": "search"}) == {}
    goes_on.set()

    reply = client.wait_for(lambda frame: frame.get("id") == "search")
    assert reply["error"] == {"code": -32600, "message": "thread search cancelled"}
    assert client.call(f"{method}/cancel", {"requestId": "search"}) == {}


def hold_searches(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Make searches wait before their first step. Return (a search waits, it may go on)."""
    began, goes_on, batch = threading.Event(), threading.Event(), Searches.batch

    def held(*args: Any, **options: Any) -> Any:
        began.set()
        assert goes_on.wait(DEADLINE_SECONDS)
        return batch(*args, **options)

    monkeypatch.setattr(Searches, "batch", held)
    return began, goes_on


def test_every_place_of_a_term_in_a_thread_is_found_a_page_at_a_time(backend: Backend) -> None:
    thread_id = say(backend, 1, "🍎 an Apple pie", "nothing", "a" * 60 + " apple and apple")
    client = backend.connect()
    wanted = {"threadId": thread_id, "searchTerm": "  aPPLE "}

    places = client.call("thread/searchOccurrences", wanted)

    assert places["nextCursor"] is None
    shown = [(place["snippet"], place["snippetMatchRange"]) for place in places["data"]]
    assert shown == [
        ("🍎 an Apple pie", {"start": 6, "end": 11}),  # the emoji has two code units
        ("... " + "a" * 48 + " apple and apple", {"start": 53, "end": 58}),
        ("... " + "a" * 38 + " apple and apple", {"start": 53, "end": 58}),
    ]
    paged, cursor = [], None
    for _ in places["data"]:
        page = client.call("thread/searchOccurrences", {**wanted, "limit": 1, "cursor": cursor})
        cursor = page["nextCursor"]
        paged += page["data"]
    assert (paged, cursor) == (places["data"], None)


def test_a_place_names_its_item_and_the_page_of_its_turn(backend: Backend) -> None:
    client = backend.connect()
    thread = make_thread(backend.store, backend.config)
    turns = [make_turn(backend.store, thread, text) for text in ("an apple",)]
    claim = claim_turn(backend.store)
    item = make_message(backend.store, claim, "the apple is red")
    end_turn(backend.store, claim)

    places = client.call("thread/searchOccurrences", {"threadId": thread.id, "searchTerm": "is red"})["data"]

    assert [(place["turnId"], place["itemId"]) for place in places] == [(turns[0].id, item.id)]
    page = client.call("thread/turns/list", {"threadId": thread.id, "cursor": places[0]["turnCursor"]})
    assert [turn["id"] for turn in page["data"]] == [turns[0].id]


def test_places_in_a_thread_of_another_user_are_not_found(backend: Backend) -> None:
    foreign, unknown = say(backend, 1, "apple", owner="somebody"), new_id()
    client = backend.connect()

    errors = [
        client.error("thread/searchOccurrences", {"threadId": thread_id, "searchTerm": "apple"})
        for thread_id in (foreign, unknown)
    ]

    assert [(error["code"], error["message"]) for error in errors] == [
        (-32600, f"thread not found: {thread_id}") for thread_id in (foreign, unknown)
    ]


@pytest.mark.parametrize("params", [{"searchTerm": " "}, {"searchTerm": "a", "cursor": "x"}])
def test_a_search_for_places_without_a_term_or_with_a_wrong_cursor_is_refused(
    backend: Backend, params: dict[str, Any]
) -> None:
    thread_id = say(backend, 1, "apple")

    assert backend.connect().error("thread/searchOccurrences", {"threadId": thread_id, **params})["code"] == -32600
