"""Whole threads: copied, cut, added to; and each user's own configuration."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, select, text

from shared.errors import Conflict, InvalidRequest, NotFound
from shared.store import Store
from shared.store.histories import History
from shared.store.tables import items, turns
from shared.store.users import LOCAL_USER
from shared.store.writes import Announced
from tests.builders import claim_turn, end_turn, make_config, make_message, make_thread, make_turn
from tests.support.wait import until

MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}


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


def a_transaction_waits(store: Store) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with store.database.read() as connection:
        return bool(connection.scalar(text(waiting)))


def texts(history: History) -> list[str]:
    return [row.item["text"] for row in history.items if row.item]


def test_a_fork_is_stored_beside_its_source_with_nothing_left_to_announce(store: Store, thread_id: str) -> None:
    copy = store.histories.fork(thread_id, LOCAL_USER, last_turn_id=None, before_turn_id=None)
    store.histories.add(copy)

    stored = store.histories.all_users_find(copy.thread.id)

    assert stored is not None
    assert texts(stored) == ["answer 1", "answer 2"]
    assert {turn.announced for turn in stored.turns} | {row.announced for row in stored.items} == {2}
    source = store.histories.all_users_find(thread_id)
    assert source is not None
    assert texts(source) == ["answer 1", "answer 2"]


def test_a_revert_leaves_nothing_of_the_dropped_turns_and_the_next_one_goes_on(store: Store, thread_id: str) -> None:
    first, second = store.turns.of_thread(thread_id, LOCAL_USER)

    store.histories.revert(thread_id, LOCAL_USER, second.id)

    assert [turn.id for turn in store.turns.of_thread(thread_id, LOCAL_USER)] == [first.id]
    assert store.items.of_turn(second.id) == []
    make_turn(store, store.threads.get(thread_id, LOCAL_USER), "again")
    assert [row.item for row in store.read_step(claim_turn(store)).rows if row.item] == [
        {"text": "answer 1", "phase": None}
    ]


def test_neither_goes_while_a_turn_is_active_or_for_somebody_else(store: Store, thread_id: str) -> None:
    first = store.turns.of_thread(thread_id, LOCAL_USER)[0]
    with pytest.raises(NotFound):
        store.histories.revert(thread_id, "somebody", first.id)
    with pytest.raises(NotFound):
        store.histories.inject(thread_id, "somebody", [MESSAGE])
    with pytest.raises(InvalidRequest):
        store.histories.revert(thread_id, LOCAL_USER, thread_id)

    make_turn(store, store.threads.get(thread_id, LOCAL_USER), "running")

    with pytest.raises(Conflict):
        store.histories.revert(thread_id, LOCAL_USER, first.id)
    with pytest.raises(Conflict):
        store.histories.inject(thread_id, LOCAL_USER, [MESSAGE])


def test_injected_items_stand_behind_everything_and_are_copied_with_their_turn(store: Store, thread_id: str) -> None:
    store.histories.inject(thread_id, LOCAL_USER, [MESSAGE])

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


def test_search_on_postgres_has_an_index_of_parts_of_words(store: Store) -> None:
    if store.database.is_sqlite:
        pytest.skip("SQLite looks into each of the user's threads")
    with store.database.read() as connection:
        available = connection.scalar(text("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'"))
        if not available:
            pytest.skip("this Postgres has no pg_trgm")
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = connection.scalars(
            text("EXPLAIN SELECT id FROM threads WHERE name LIKE '%abc%' OR preview LIKE '%abc%'")
        )
        assert "threads_by_text" in "\n".join(plan)


def test_noting_what_was_published_and_taking_turns_back_do_not_block_each_other(store: Store, thread_id: str) -> None:
    if store.database.is_sqlite:
        pytest.skip("one transaction writes at a time there")
    turn_id = store.turns.of_thread(thread_id, LOCAL_USER)[-1].id
    item_id = store.items.of_turn(turn_id)[-1].id

    with ThreadPoolExecutor() as pool:
        with store.database.write() as connection:  # as `revert` and `delete` do
            connection.execute(select(turns.c.id).where(turns.c.id == turn_id).with_for_update())
            noted = pool.submit(store.commit, [], Announced(items={item_id: 2}, turns={turn_id: 2}))
            until(lambda: a_transaction_waits(store))
            connection.execute(delete(items).where(items.c.turn_id == turn_id))

        assert noted.result() == []
