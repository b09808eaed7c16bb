"""thread/revert and thread/rollback: the last turns are removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.methods.test_thread_fork import answers, make_answered, turn_ids
from tests.builders import Backend, claim_turn, make_turn


def test_a_turn_and_all_later_ones_are_removed_for_clients_and_for_the_model(backend: Backend) -> None:
    thread = make_answered(backend, "one", "two", "three")
    client = backend.connect()
    client.call("thread/resume", {"threadId": thread.id})
    ids = turn_ids(backend, thread)

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
    make_turn(backend.store, thread, "two again")
    assert len(backend.store.read_step(claim_turn(backend.store)).rows) == 1


@pytest.mark.parametrize("has_files", [True, False])
def test_removed_turns_are_remembered_where_session_files_have_them(
    open_backend: Callable[..., Backend], tmp_path: Path, has_files: bool
) -> None:
    backend = open_backend(server={"sessions_dir": tmp_path / "sessions" if has_files else None})
    thread = make_answered(backend, "one", "two")
    first, second = turn_ids(backend, thread)

    backend.connect().call("thread/revert", {"threadId": thread.id, "beforeTurnId": second})

    version = backend.store.histories.all_users_version(thread.id)
    assert version is not None
    assert version.reverted_turns == ([second] if has_files else None)
    assert turn_ids(backend, thread) == [first]


def test_a_queued_turn_is_interrupted_first(backend: Backend) -> None:
    thread = make_answered(backend, "one")
    queued = make_turn(backend.store, thread, "two")

    result = backend.connect().call("thread/revert", {"threadId": thread.id, "beforeTurnId": queued.id})

    assert result["thread"]["status"] == {"type": "idle"}
    assert len(turn_ids(backend, thread)) == 1


def test_when_no_turn_is_left_the_next_message_becomes_the_preview(backend: Backend) -> None:
    thread = make_answered(backend, "one")
    client = backend.connect()

    result = client.call("thread/revert", {"threadId": thread.id, "beforeTurnId": turn_ids(backend, thread)[0]})
    client.call("turn/start", {"threadId": thread.id, "input": [{"type": "text", "text": "anew"}]})

    assert (result["thread"]["preview"], result["turnsBackwardsCursor"]) == ("", None)
    assert client.call("thread/list")["data"][0]["preview"] == "anew"


def test_a_turn_of_another_thread_is_not_found(backend: Backend) -> None:
    thread, other = make_answered(backend, "one"), make_answered(backend, "two")
    client = backend.connect()

    error = client.error("thread/revert", {"threadId": thread.id, "beforeTurnId": turn_ids(backend, other)[0]})

    assert error["message"].startswith("turn not found")
    assert len(turn_ids(backend, thread)) == len(turn_ids(backend, other)) == 1


@pytest.mark.parametrize(("number", "left"), [(1, ["ONE", "TWO"]), (2, ["ONE"]), (9, [])])
def test_rollback_removes_a_number_of_turns(backend: Backend, number: int, left: list[str]) -> None:
    thread = make_answered(backend, "one", "two", "three")

    result = backend.connect().call("thread/rollback", {"threadId": thread.id, "numTurns": number})

    assert answers(result["thread"]["turns"]) == left


@pytest.mark.parametrize("number", [0, -1, 2**63, 2**64, 1e300])
def test_a_number_of_turns_beyond_64_bits_is_refused(backend: Backend, number: float) -> None:
    thread = make_answered(backend, "one")

    assert backend.connect().error("thread/rollback", {"threadId": thread.id, "numTurns": number})["code"] == -32602
