"""Whole threads: fork, revert and inject; user configurations; two behaviours of Postgres."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import delete, select, text

from shared.errors import Conflict, InvalidRequest, NotFound
from shared.store import Store
from shared.store.histories import History
from shared.store.tables import items, turns
from shared.store.users import LOCAL_USER
from shared.store.writes import Published
from tests.builders import claim_turn, end_turn, log_rows, make_config, make_message, make_thread, make_turn
from tests.shared.store.records import a_transaction_waits
from tests.support.wait import until

MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}
ON_POSTGRES = pytest.mark.parametrize("store", ["postgres"], indirect=True)


@pytest.fixture
def thread_id(store: Store, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A thread with two ended turns of one message each."""
    thread = make_thread(store, make_config(tmp_path_factory.mktemp("home")))
    for number in (1, 2):
        make_turn(store, thread, str(number))
        claim = claim_turn(store)
        make_message(store, claim, f"answer {number}")
        end_turn(store, claim)
    return thread.id


def find_history(store: Store, thread_id: str) -> History:
    found = store.histories.all_users_find(thread_id)
    assert found is not None
    thread, turns = found
    return History(thread, turns, [row for turn in turns for row in store.items.of_turn(turn.id)])


def texts(history: History) -> list[str]:
    return [row.item["text"] for row in history.items if row.item]


def test_a_fork_is_stored_beside_its_source_with_all_events_published(store: Store, thread_id: str) -> None:
    copy = store.histories.fork(thread_id, LOCAL_USER, last_turn_id=None, before_turn_id=None)
    store.histories.create(copy)

    stored = find_history(store, copy.thread.id)

    assert texts(stored) == ["answer 1", "answer 2"]
    assert {turn.published_state for turn in stored.turns} | {row.published_state for row in stored.items} == {2}
    assert texts(find_history(store, thread_id)) == ["answer 1", "answer 2"]


def test_revert_deletes_the_turns_and_the_next_turn_continues_before_them(store: Store, thread_id: str) -> None:
    first, second = store.turns.of_thread(thread_id, LOCAL_USER)

    store.histories.revert(thread_id, LOCAL_USER, second.id)

    version = store.histories.all_users_version(thread_id)
    assert version is not None
    assert version.reverted_turns is None, "no session file would ever end the list"
    assert [turn.id for turn in store.turns.of_thread(thread_id, LOCAL_USER)] == [first.id]
    assert store.items.of_turn(second.id) == []
    make_turn(store, store.threads.get(thread_id, LOCAL_USER), "again")
    rows = store.read_step(claim_turn(store)).rows
    assert [row.id for row in rows] == [row.id for row in store.items.of_turn(first.id)]
    assert texts(find_history(store, thread_id)) == ["answer 1"]


def test_a_step_reads_what_is_behind_a_known_row_if_that_is_still_there(store: Store, thread_id: str) -> None:
    rows = log_rows(store, thread_id)
    make_turn(store, store.threads.get(thread_id, LOCAL_USER), "again")
    claim = claim_turn(store)

    behind_first, behind_last, whole = (
        store.read_step(claim, 0, known) for known in (rows[0], rows[-1], replace(rows[-1], id="removed"))
    )

    assert [row.id for row in behind_first.rows] == [row.id for row in rows[1:]]
    assert behind_last.rows == []
    assert not behind_first.is_whole
    assert not behind_last.is_whole
    assert whole.is_whole
    assert [row.id for row in whole.rows] == [row.id for row in rows]
    assert all(row.item is None for row in whole.rows), "the model sees the answers of earlier turns in model_items"


def test_revert_and_inject_refuse_active_turns_and_other_users(store: Store, thread_id: str) -> None:
    first = store.turns.of_thread(thread_id, LOCAL_USER)[0]
    with pytest.raises(NotFound):
        store.histories.revert(thread_id, "somebody", first.id)
    with pytest.raises(NotFound):
        store.histories.inject(thread_id, "somebody", [MESSAGE], history_limit=0)
    with pytest.raises(InvalidRequest):
        store.histories.revert(thread_id, LOCAL_USER, thread_id)

    make_turn(store, store.threads.get(thread_id, LOCAL_USER), "running")

    with pytest.raises(Conflict):
        store.histories.revert(thread_id, LOCAL_USER, first.id)
    with pytest.raises(Conflict):
        store.histories.inject(thread_id, LOCAL_USER, [MESSAGE], history_limit=0)


def test_injected_items_come_last_and_are_copied_with_their_turn(store: Store, thread_id: str) -> None:
    store.histories.inject(thread_id, LOCAL_USER, [MESSAGE], history_limit=0)

    copy = store.histories.fork(thread_id, LOCAL_USER, last_turn_id=None, before_turn_id=None)

    assert copy.items[-1].model_items == [MESSAGE]


def test_a_users_configuration_has_versions(store: Store) -> None:
    assert store.user_configs.get("ann") == ({}, 0)
    assert store.user_configs.change("ann", lambda keys: {**keys, "model": "a"}, 0) == 1
    assert store.user_configs.change("ann", lambda keys: {**keys, "personality": "b"}, 1) == 2

    with pytest.raises(Conflict):
        store.user_configs.change("ann", lambda keys: {}, 1)

    assert store.user_configs.get("ann") == ({"model": "a", "personality": "b"}, 2)
    assert store.user_configs.get("bob") == ({}, 0)


@ON_POSTGRES  # SQLite reads each of the user's threads
def test_search_on_postgres_uses_a_trigram_index(store: Store) -> None:
    with store.database.read(in_transaction=True) as connection:
        available = connection.scalar(text("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'"))
        if not available:
            pytest.skip("this Postgres has no pg_trgm")
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = connection.scalars(
            text("EXPLAIN SELECT id FROM threads WHERE name LIKE '%abc%' OR preview LIKE '%abc%'")
        )
        assert "threads_by_text" in "\n".join(plan)


@ON_POSTGRES  # on SQLite one transaction writes at a time
def test_recording_published_events_and_reverting_turns_do_not_deadlock(store: Store, thread_id: str) -> None:
    turn_id = store.turns.of_thread(thread_id, LOCAL_USER)[-1].id
    item_id = store.items.of_turn(turn_id)[-1].id

    with ThreadPoolExecutor() as pool:
        with store.database.write() as connection:  # as `revert` and `delete` do
            connection.execute(select(turns.c.id).where(turns.c.id == turn_id).with_for_update())
            noted = pool.submit(store.commit, [], Published(items={item_id: 2}, turns={turn_id: 2}))
            until(lambda: a_transaction_waits(store))
            connection.execute(delete(items).where(items.c.turn_id == turn_id))

        assert noted.result() == []
