"""thread/list: every parameter, and pages both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.requests.settings import defaults
from shared.ids import new_id
from shared.store.users import LOCAL_USER
from tests.builders import Backend, Client, make_thread


def make_listed(backend: Backend, number: int, **values: Any) -> str:
    times = dict.fromkeys(("created_at_ms", "updated_at_ms", "recency_at_ms"), 1_000_000 + number * 1000)
    return make_thread(backend.store, backend.config, **{"materialized": True, **times, **values}).id


def ids(client: Client, **params: Any) -> list[str]:
    return [row["id"] for row in client.call("thread/list", params)["data"]]


def test_pages_have_no_gaps_while_threads_are_added(backend: Backend) -> None:
    made = [make_listed(backend, number) for number in range(7)]
    client = backend.connect()

    seen, cursor = [], None
    while True:
        page = client.call("thread/list", {"limit": 3, "cursor": cursor})
        seen += [row["id"] for row in page["data"]]
        make_listed(backend, 100 + len(seen))
        cursor = page["nextCursor"]
        if cursor is None:
            break

    assert seen == made[::-1]


def test_the_backwards_cursor_lists_threads_newer_than_the_page(backend: Backend) -> None:
    make_listed(backend, 1)
    client = backend.connect()
    first = client.call("thread/list")
    assert ids(client, cursor=first["backwardsCursor"], sortDirection="asc") == []

    newer = [make_listed(backend, number) for number in (2, 3)]

    assert ids(client, cursor=first["backwardsCursor"], sortDirection="asc") == newer
    assert ids(client, cursor=first["backwardsCursor"]) == [row["id"] for row in first["data"]]
    assert client.call("thread/list", {"searchTerm": "nowhere"})["backwardsCursor"] is None


@pytest.mark.parametrize(("limit", "rows"), [(0, 1), (1, 1), (101, 100), (None, 25)])
def test_the_limit_is_clamped(backend: Backend, limit: int | None, rows: int) -> None:
    for number in range(102):
        make_listed(backend, number)

    assert len(ids(backend.connect(), limit=limit)) == rows


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
def test_a_filter_lists_only_matching_threads(backend: Backend, values: dict[str, Any], params: dict[str, Any]) -> None:
    make_listed(backend, 1, preview="a needle%")
    wanted = make_listed(backend, 2, **values)
    make_listed(backend, 3, owner="somebody", **values)

    assert ids(backend.connect(), **params) == [wanted]


def test_threads_can_be_excluded_and_filtered_by_folder_and_provider(backend: Backend) -> None:
    one, two = make_listed(backend, 1), make_listed(backend, 2)
    client = backend.connect()
    cwd = backend.store.threads.get(one, LOCAL_USER).settings["cwd"]

    assert ids(client, excludedThreadIds=[two]) == [one]
    assert ids(client, cwd=cwd) == ids(client, cwd=[cwd, "/x"]) == [one]
    assert ids(client, modelProviders=[]) == [two, one]
    assert ids(client, modelProviders=["nobody"]) == []
    assert ids(client, sectionId="x") == []
    assert ids(client, sortKey="recency_at", sortDirection="asc") == [one, two]


def make_in(backend: Backend, number: int, folder: Path) -> str:
    settings = {**defaults(backend.config, LOCAL_USER, new_id()), "cwd": str(folder)}
    return make_listed(backend, number, settings=settings)


@pytest.mark.parametrize("written", ["a", "a/", "a/.", "a//", "./a", "x/../a", "link", "link/", "links/back/a"])
def test_a_folder_is_found_whatever_way_it_is_written(backend: Backend, tmp_path: Path, written: str) -> None:
    for name in ("a", "b", "links"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "links" / "back").symlink_to("..")
    there = [make_in(backend, 1, tmp_path / "a"), make_in(backend, 2, tmp_path / "link")]
    other = make_in(backend, 3, tmp_path / "b")
    client = backend.connect()

    assert set(ids(client, cwd=f"{tmp_path}/{written}")) == set(there)
    assert set(ids(client, cwd=[f"{tmp_path}/{written}", f"{tmp_path}/b/"])) == {*there, other}


@pytest.mark.parametrize(
    ("name", "value"), [("cwd", "/a"), ("modelProviders", "a"), ("originators", "a"), ("sourceKinds", "cli")]
)
def test_more_values_than_a_statement_takes_are_refused(backend: Backend, name: str, value: str) -> None:
    client = backend.connect()

    refused = client.error("thread/list", {name: [value] * 70_000})

    assert "10000" in refused["message"]
    assert ids(client, **{name: [value] * 10_000}) == []


@pytest.mark.parametrize("cwd", [[], "", "a", "~", "/nowhere", ["/nowhere/"], "/a\0b"])
def test_other_folders_have_no_threads(backend: Backend, cwd: object) -> None:
    make_listed(backend, 1)

    assert ids(backend.connect(), cwd=cwd) == []


def test_a_list_may_be_limited_to_some_threads(backend: Backend) -> None:
    one, two, three = (make_listed(backend, number) for number in range(3))
    theirs = make_listed(backend, 3, owner="somebody")
    client = backend.connect()

    assert ids(client, includedThreadIds=[one, three, theirs, new_id()]) == [three, one]
    assert ids(client, includedThreadIds=[]) == []
    assert ids(client, includedThreadIds=[one, two], excludedThreadIds=[one]) == [two]
    assert ids(client, includedThreadIds=[one], cwd="/nowhere") == []
    assert ids(client, includedThreadIds=None, newFilter=None) == [three, two, one]


@pytest.mark.parametrize(
    "params",
    [
        {"excludedThreadIds": ["x"]},
        {"includedThreadIds": ["x"]},
        {"includedThreadIds": [new_id() for _ in range(101)]},
        {"newFilter": ["x"]},
        {"excludedThreadIds": [new_id() for _ in range(101)]},
        {"sourceKinds": ["bogus"]},
        {"cursor": "bogus"},
        {"sortKey": "size"},
    ],
)
def test_malformed_params_are_refused(backend: Backend, params: dict[str, Any]) -> None:
    assert backend.connect().error("thread/list", params)["code"] in (-32600, -32602)


def test_an_ephemeral_thread_can_be_read_and_is_not_listed(backend: Backend) -> None:
    client = backend.connect()
    started = client.call("thread/start", {"ephemeral": True, "historyMode": "paginated"})["thread"]

    client.call("turn/start", {"threadId": started["id"], "input": [{"type": "text", "text": "x"}]})

    assert (started["ephemeral"], started["path"], started["historyMode"]) == (True, None, "paginated")
    assert ids(client) == []
    assert client.call("thread/read", {"threadId": started["id"]})["thread"]["historyMode"] == "paginated"
