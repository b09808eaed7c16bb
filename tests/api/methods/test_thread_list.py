"""thread/list: every parameter, and pages both ways."""

from __future__ import annotations

from typing import Any

import pytest

from shared.ids import new_id
from shared.store.users import LOCAL_USER
from tests.builders import Client, House, make_thread


def make_listed(house: House, number: int, **values: Any) -> str:
    times = dict.fromkeys(("created_at_ms", "updated_at_ms", "recency_at_ms"), 1_000_000 + number * 1000)
    return make_thread(house.store, house.config, **{"materialized": True, **times, **values}).id


def ids(client: Client, **params: Any) -> list[str]:
    return [row["id"] for row in client.call("thread/list", params)["data"]]


def test_pages_go_on_without_a_gap_while_threads_are_added(house: House) -> None:
    made = [make_listed(house, number) for number in range(7)]
    client = house.connect()

    seen, cursor = [], None
    while True:
        page = client.call("thread/list", {"limit": 3, "cursor": cursor})
        seen += [row["id"] for row in page["data"]]
        make_listed(house, 100 + len(seen))
        cursor = page["nextCursor"]
        if cursor is None:
            break

    assert seen == made[::-1]


def test_the_backwards_cursor_tells_what_is_newer_than_a_page(house: House) -> None:
    make_listed(house, 1)
    client = house.connect()
    first = client.call("thread/list")
    assert ids(client, cursor=first["backwardsCursor"], sortDirection="asc") == []

    newer = [make_listed(house, number) for number in (2, 3)]

    assert ids(client, cursor=first["backwardsCursor"], sortDirection="asc") == newer
    assert ids(client, cursor=first["backwardsCursor"]) == [row["id"] for row in first["data"]]
    assert client.call("thread/list", {"searchTerm": "nowhere"})["backwardsCursor"] is None


@pytest.mark.parametrize(("limit", "rows"), [(0, 1), (1, 1), (101, 100), (None, 25)])
def test_the_limit_is_clamped(house: House, limit: int | None, rows: int) -> None:
    for number in range(102):
        make_listed(house, number)

    assert len(ids(house.connect(), limit=limit)) == rows


@pytest.mark.parametrize(
    ("values", "params"),
    [
        ({"source": "exec"}, {"sourceKinds": ["exec"]}),
        ({"archived_at_ms": 5}, {"archived": True}),
        ({"preview": "find a Needle here"}, {"searchTerm": "a Needle"}),
        ({"name": "a Needle_%"}, {"searchTerm": "Needle_%"}),
        ({"originator": "mine"}, {"originators": ["mine", "other"]}),
    ],
)
def test_a_filter_shows_what_it_says_and_nothing_else(
    house: House, values: dict[str, Any], params: dict[str, Any]
) -> None:
    make_listed(house, 1, preview="a needle%")
    wanted = make_listed(house, 2, **values)
    make_listed(house, 3, owner="somebody", **values)

    assert ids(house.connect(), **params) == [wanted]


def test_excluded_folders_and_providers(house: House) -> None:
    one, two = make_listed(house, 1), make_listed(house, 2)
    client = house.connect()
    cwd = house.store.threads.get(one, LOCAL_USER).settings["cwd"]

    assert ids(client, excludedThreadIds=[two]) == [one]
    assert ids(client, cwd=cwd) == ids(client, cwd=[cwd, "/x"]) == [one]
    assert ids(client, modelProviders=[]) == [two, one]
    assert ids(client, modelProviders=["nobody"]) == []
    assert ids(client, sectionId="x") == []
    assert ids(client, sortKey="recency_at", sortDirection="asc") == [one, two]


@pytest.mark.parametrize(
    "params",
    [
        {"excludedThreadIds": ["x"]},
        {"excludedThreadIds": [new_id() for _ in range(101)]},
        {"sourceKinds": ["bogus"]},
        {"cursor": "bogus"},
        {"sortKey": "size"},
    ],
)
def test_what_makes_no_sense_is_refused(house: House, params: dict[str, Any]) -> None:
    assert house.connect().error("thread/list", params)["code"] in (-32600, -32602)


def test_an_ephemeral_thread_is_readable_and_never_listed(house: House) -> None:
    client = house.connect()
    started = client.call("thread/start", {"ephemeral": True, "historyMode": "paginated"})["thread"]

    client.call("turn/start", {"threadId": started["id"], "input": [{"type": "text", "text": "x"}]})

    assert (started["ephemeral"], started["path"], started["historyMode"]) == (True, None, "paginated")
    assert ids(client) == []
    assert client.call("thread/read", {"threadId": started["id"]})["thread"]["historyMode"] == "paginated"
