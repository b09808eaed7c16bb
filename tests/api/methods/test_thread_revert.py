"""thread/revert and thread/rollback: the last turns are taken back."""

from __future__ import annotations

import pytest

from tests.api.methods.test_thread_fork import answers, make_said, turn_ids
from tests.builders import House, claim_turn, make_turn


def test_a_turn_and_all_later_ones_are_gone_for_clients_and_for_the_model(house: House) -> None:
    thread = make_said(house, "one", "two", "three")
    client = house.connect()
    client.call("thread/resume", {"threadId": thread.id})
    ids = turn_ids(house, thread)

    result = client.call("thread/revert", {"threadId": thread.id, "beforeTurnId": ids[1]})

    assert result["turnsBackwardsCursor"] == f"={ids[0]}"
    assert result["thread"]["turns"] == []
    client.wait_for_method("thread/reverted")
    assert client.methods()[-3:] == ["thread/status/changed", "thread/status/changed", "thread/reverted"]
    read = client.call("thread/read", {"threadId": thread.id, "includeTurns": True})
    assert answers(read["thread"]["turns"]) == ["ONE"]
    page = client.call(
        "thread/items/list",
        {"threadId": thread.id, "cursor": result["itemsBackwardsCursor"], "sortDirection": "desc"},
    )
    assert [row["item"]["text"] for row in page["data"]] == ["ONE"]
    make_turn(house.store, thread, "two again")
    assert len(house.store.read_step(claim_turn(house.store)).rows) == 1


def test_what_waits_for_a_worker_is_interrupted_first(house: House) -> None:
    thread = make_said(house, "one")
    queued = make_turn(house.store, thread, "two")

    result = house.connect().call("thread/revert", {"threadId": thread.id, "beforeTurnId": queued.id})

    assert result["thread"]["status"] == {"type": "idle"}
    assert len(turn_ids(house, thread)) == 1


def test_without_any_turn_left_the_next_message_names_the_thread_anew(house: House) -> None:
    thread = make_said(house, "one")
    client = house.connect()

    result = client.call("thread/revert", {"threadId": thread.id, "beforeTurnId": turn_ids(house, thread)[0]})
    client.call("turn/start", {"threadId": thread.id, "input": [{"type": "text", "text": "anew"}]})

    assert (result["thread"]["preview"], result["turnsBackwardsCursor"]) == ("", None)
    assert client.call("thread/list")["data"][0]["preview"] == "anew"


def test_a_turn_of_another_thread_takes_nothing_back(house: House) -> None:
    thread, other = make_said(house, "one"), make_said(house, "two")
    client = house.connect()

    error = client.error("thread/revert", {"threadId": thread.id, "beforeTurnId": turn_ids(house, other)[0]})

    assert error["message"].startswith("turn not found")
    assert len(turn_ids(house, thread)) == len(turn_ids(house, other)) == 1


@pytest.mark.parametrize(("number", "left"), [(1, ["ONE", "TWO"]), (2, ["ONE"]), (9, [])])
def test_an_older_client_counts_the_turns_to_take_back(house: House, number: int, left: list[str]) -> None:
    thread = make_said(house, "one", "two", "three")

    result = house.connect().call("thread/rollback", {"threadId": thread.id, "numTurns": number})

    assert answers(result["thread"]["turns"]) == left


@pytest.mark.parametrize("number", [0, -1, 2**63, 2**64, 1e300])
def test_a_number_of_turns_that_no_database_has_is_refused(house: House, number: float) -> None:
    thread = make_said(house, "one")

    assert house.connect().error("thread/rollback", {"threadId": thread.id, "numTurns": number})["code"] == -32602
