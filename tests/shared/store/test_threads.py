"""Threads: lists by keyset, names, archiving and the sweep."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from shared.clock import now_ms
from shared.errors import ClaimLost, Conflict, InvalidRequest
from shared.ids import new_id
from shared.store import Store
from shared.store import threads as threads_of_store
from shared.store.tables import threads
from shared.store.threads import LAST_ID, LOADED_FOR_MS, SESSION_AGAIN_MS, Filter, Thread, format_cursor, parse_cursor
from tests.shared.store.records import SETTINGS, begin, claim, end, running, thread


def listed(store: Store, *, limit: int = 100, **wanted: Any) -> list[str]:
    order = {"sort_key": "created_at", "descending": True, "after": None}
    order |= {key: wanted.pop(key) for key in tuple(wanted) if key in order}
    return [one.id for one in store.threads.page("ann", Filter(**wanted), limit=limit, **order)]  # type: ignore[arg-type]


def materialized(store: Store, **values: Any) -> Thread:
    return thread(store, materialized=True, **values)


@pytest.mark.parametrize("descending", [True, False])
def test_pages_have_no_gap_and_no_repetition_while_rows_are_added(store: Store, descending: bool) -> None:
    at_ms = now_ms()
    made = [materialized(store, created_at_ms=at_ms + number // 3) for number in range(12)]  # ties
    seen: list[str] = []
    after = None

    while page := store.threads.page(
        "ann", Filter(), sort_key="created_at", descending=descending, after=after, limit=5
    ):
        seen += [one.id for one in page]
        after = (page[-1].created_at_ms, page[-1].id)
        if len(seen) < 12:  # a row on the side that was read already
            materialized(store, created_at_ms=at_ms + (1000 if descending else -1000))

    wanted = sorted(made, key=lambda one: (one.created_at_ms, one.id), reverse=descending)
    assert [one for one in seen if one in {each.id for each in made}] == [one.id for one in wanted]
    assert len(seen) == len(set(seen))


def test_a_thread_with_an_active_turn_is_not_archived(store: Store) -> None:
    of = running(store)

    with pytest.raises(Conflict, match=f"turn {of.turn_id} has not ended yet"):
        store.threads.archive(of.thread_id, "ann")

    assert store.threads.get(of.thread_id, "ann").archived_at_ms is None
    end(store, of)
    store.threads.archive(of.thread_id, "ann")


def test_a_list_obeys_its_filter(store: Store) -> None:
    plain = materialized(store, preview="Fix the 100% bug", name="Bugs")
    elsewhere = materialized(store, settings={**SETTINGS, "cwd": "/elsewhere", "modelProvider": "other"})
    script = materialized(store, source="exec")
    archived = materialized(store)
    store.threads.archive(archived.id, "ann")
    thread(store)
    materialized(store, ephemeral=True)
    materialized(store, owner="bob")

    assert set(listed(store)) == {plain.id, elsewhere.id, script.id}
    assert listed(store, archived=True) == [archived.id]
    assert listed(store, sources=["exec"]) == [script.id]
    assert listed(store, cwds=["/elsewhere"]) == [elsewhere.id]
    assert listed(store, model_providers=["other"]) == [elsewhere.id]
    assert set(listed(store, excluded_ids=[plain.id])) == {elsewhere.id, script.id}
    for term, found in (("100% b", True), ("Bugs", True), ("bugs", False), ("100_", False), ("fix", False)):
        assert listed(store, search_term=term) == ([plain.id] if found else []), term


def test_a_name_does_not_move_recency(store: Store) -> None:
    of = thread(store)

    store.threads.set_name(of.id, "ann", "Name")

    named = store.threads.get(of.id, "ann")
    assert (named.name, named.recency_at_ms) == ("Name", of.recency_at_ms)


def test_status_follows_from_the_turns(store: Store) -> None:
    of = thread(store)
    statuses = [store.threads.get(of.id, "ann").status()]
    begin(store, of)
    statuses.append(store.threads.get(of.id, "ann").status())
    end(store, claim(store), "failed")
    statuses.append(store.threads.get(of.id, "ann").status())
    begin(store, of)
    end(store, claim(store))
    statuses.append(store.threads.get(of.id, "ann").status())

    assert statuses == [
        {"type": "idle"},
        {"type": "active", "activeFlags": []},
        {"type": "systemError"},
        {"type": "idle"},
    ]
    old = thread(store, used_at_ms=now_ms() - LOADED_FOR_MS - 1)
    assert store.threads.get(old.id, "ann").status() == {"type": "notLoaded"}


def test_a_thread_can_be_unarchived_once(store: Store) -> None:
    of = thread(store)

    store.threads.archive(of.id, "ann")
    back = store.threads.unarchive(of.id, "ann")

    assert back.archived_at_ms is None
    with pytest.raises(Conflict, match="no archived rollout found"):
        store.threads.unarchive(of.id, "ann")


def test_the_sweep_deletes_unused_threads_without_a_turn_only(store: Store) -> None:
    long_ago = now_ms() - LOADED_FOR_MS - 1000
    unused, ephemeral = thread(store, used_at_ms=long_ago), materialized(store, ephemeral=True, used_at_ms=long_ago)
    busy = thread(store, ephemeral=True)
    begin(store, busy)
    materialized(store, used_at_ms=long_ago)
    thread(store)

    assert store.threads.all_users_sweep_unused() == 2
    assert store.threads.find(unused.id, "ann") is store.threads.find(ephemeral.id, "ann") is None
    assert store.threads.all_users_sweep_unused() == 0


def test_settings_of_a_turn_become_the_threads_settings(store: Store) -> None:
    of = thread(store)

    changed = store.threads.change_settings(of.id, "ann", {"model": "other", "cwd": "/new"})

    assert changed.settings == store.threads.get(of.id, "ann").settings == {**SETTINGS, "model": "other", "cwd": "/new"}


def test_the_worker_of_a_deleted_thread_has_lost_its_claim(store: Store) -> None:
    of = running(store)
    store.threads.delete(of.thread_id, "ann")

    with pytest.raises(ClaimLost):
        store.read_step(of)


def test_a_cursor_is_parsed_as_it_was_formatted() -> None:
    thread_id = new_id()

    assert parse_cursor(format_cursor(1_795_345_090_123, thread_id)) == (1_795_345_090_123, thread_id)
    assert parse_cursor(format_cursor(1_795_345_090_123, None)) == (1_795_345_090_123, LAST_ID)
    for cursor in ("", "x", "2026-11-22T11:02:48Z|x", "2026-11-22T11:02:48|" + thread_id):
        with pytest.raises(InvalidRequest, match="invalid cursor"):
            parse_cursor(cursor)


def test_session_files_are_due_once_and_again_after_a_while(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    due, later, ephemeral = thread(store), thread(store), thread(store, ephemeral=True)
    thread(store)
    at = {"ms": 1_000}
    monkeypatch.setattr(threads_of_store, "now_ms", lambda: at["ms"])
    with store.database.write() as connection:
        for one, due_at_ms in ((due, 1_000), (later, 1_001), (ephemeral, 1)):
            connection.execute(update(threads).where(threads.c.id == one.id).values(session_due_at_ms=due_at_ms))

    assert store.threads.all_users_due_sessions() == [due.id]
    assert store.threads.all_users_due_sessions() == []
    at["ms"] = 1_001
    assert store.threads.all_users_due_sessions() == [later.id]
    at["ms"] = 1_000 + SESSION_AGAIN_MS
    assert store.threads.all_users_due_sessions() == [due.id]


@pytest.mark.parametrize("store", ["postgres"], indirect=True)  # SQLite locks no single rows
def test_the_session_file_of_a_thread_that_somebody_changes_is_left_for_the_next_look(store: Store) -> None:
    busy, free = thread(store), thread(store)
    with store.database.write() as connection:
        connection.execute(update(threads).values(session_due_at_ms=1))

    with store.database.write() as connection:
        connection.execute(select(threads.c.id).where(threads.c.id == busy.id).with_for_update())
        assert store.threads.all_users_due_sessions() == [free.id]

    assert store.threads.all_users_due_sessions() == [busy.id]


def test_the_session_file_of_a_thread_that_was_renamed_or_archived_is_due_once(store: Store) -> None:
    made = thread(store)

    def due_at_ms() -> int | None:
        with store.database.read() as connection:
            found: int | None = connection.scalar(select(threads.c.session_due_at_ms).where(threads.c.id == made.id))
        return found

    for change in (
        lambda: store.threads.set_name(made.id, "ann", "a name"),
        lambda: store.threads.archive(made.id, "ann"),
        lambda: store.threads.unarchive(made.id, "ann"),
    ):
        with store.database.write() as connection:
            connection.execute(update(threads).values(session_due_at_ms=None))
        change()
        first = due_at_ms()
        assert first is not None
        assert first > now_ms()
        store.threads.set_name(made.id, "ann", "another name")
        assert due_at_ms() == first


def test_threads_are_loaded_while_they_are_used_or_active(store: Store) -> None:
    used, unused, active, archived = (thread(store) for _ in range(4))
    theirs = thread(store, "bob")
    begin(store, active)
    store.threads.archive(archived.id, "ann")
    long_ago = now_ms() - LOADED_FOR_MS - 1000
    with store.database.write() as connection:
        of = threads.c.id.in_([unused.id, active.id])
        connection.execute(update(threads).where(of).values(used_at_ms=long_ago))

    first, second = sorted([used.id, active.id])
    assert store.threads.list_loaded("ann", None, 9) == [first, second]
    assert store.threads.list_loaded("ann", None, 1) == [first]
    assert store.threads.list_loaded("ann", first, 9) == [second]
    assert store.threads.list_loaded("bob", None, 9) == [theirs.id]
    assert set(store.threads.all_users_unused()) == {unused.id, archived.id}
    store.threads.all_users_touch([unused.id])

    assert store.threads.list_loaded("ann", None, 9) == sorted([used.id, unused.id, active.id])
    assert store.threads.all_users_unused() == [archived.id]


def test_an_owner_has_so_many_threads(store: Store) -> None:
    for owner in ("ann", "ann", "bob"):
        thread(store, owner)

    assert [store.threads.has("ann", count) for count in (1, 2, 3)] == [True, True, False]


def test_threads_not_updated_since_a_time_are_deleted(store: Store) -> None:
    old, old_archived, new = (thread(store, updated_at_ms=at_ms) for at_ms in (1_000, 1_000, 2_000))
    busy = thread(store, updated_at_ms=1_000)
    with store.database.write() as connection:
        connection.execute(update(threads).where(threads.c.id == old_archived.id).values(archived_at_ms=1))
    begin(store, busy)
    with store.database.write() as connection:
        connection.execute(update(threads).where(threads.c.id == busy.id).values(updated_at_ms=1_000))

    assert store.threads.all_users_sweep_old(1_000, archived=False) == 0
    assert store.threads.all_users_sweep_old(2_000, archived=False) == 1
    assert store.threads.find(old.id, "ann") is None
    assert store.threads.find(old_archived.id, "ann") is not None
    assert store.threads.all_users_sweep_old(2_000, archived=True) == 1

    assert store.threads.find(old_archived.id, "ann") is None
    assert None not in (store.threads.find(new.id, "ann"), store.threads.find(busy.id, "ann"))
