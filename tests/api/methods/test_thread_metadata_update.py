"""thread/metadata/update: facts about a repository."""

from __future__ import annotations

from tests.builders import House, make_thread


def test_a_fact_that_is_left_out_stays_and_null_clears_it(house: House) -> None:
    thread = make_thread(house.store, house.config)
    client = house.connect()

    def update(**git_info: str | None) -> object:
        told = {"threadId": thread.id, "gitInfo": git_info}
        return client.call("thread/metadata/update", told)["thread"]["gitInfo"]

    assert update(sha="a", branch="main") == {"sha": "a", "branch": "main", "originUrl": None}
    assert update(branch="dev") == {"sha": "a", "branch": "dev", "originUrl": None}
    assert update(sha=None) == {"sha": None, "branch": "dev", "originUrl": None}
    assert update(branch=None) is None
    assert client.call("thread/read", {"threadId": thread.id})["thread"]["gitInfo"] is None


def test_an_empty_fact_is_refused(house: House) -> None:
    thread = make_thread(house.store, house.config)

    error = house.connect().error("thread/metadata/update", {"threadId": thread.id, "gitInfo": {"sha": ""}})

    assert error["code"] == -32602
