"""Threads: lists by keyset, names, archives, and what is swept."""

from __future__ import annotations

from typing import Any

import pytest

from shared.clock import now_ms
from shared.errors import ClaimLost, Conflict, InvalidRequest
from shared.ids import new_id
from shared.store import Store
from shared.store.threads import LOADED_FOR_MS, Filter, Thread, format_cursor, parse_cursor
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


def test_a_list_has_what_its_filter_says(store: Store) -> None:
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
    told = [store.threads.get(of.id, "ann").status()]
    begin(store, of)
    told.append(store.threads.get(of.id, "ann").status())
    end(store, claim(store), "failed")
    told.append(store.threads.get(of.id, "ann").status())
    begin(store, of)
    end(store, claim(store))
    told.append(store.threads.get(of.id, "ann").status())

    assert told == [{"type": "idle"}, {"type": "active", "activeFlags": []}, {"type": "systemError"}, {"type": "idle"}]
    old = thread(store, used_at_ms=now_ms() - LOADED_FOR_MS - 1)
    assert store.threads.get(old.id, "ann").status() == {"type": "notLoaded"}


def test_an_archive_is_left_once(store: Store) -> None:
    of = thread(store)

    store.threads.archive(of.id, "ann")
    back = store.threads.unarchive(of.id, "ann")

    assert back.archived_at_ms is None
    with pytest.raises(Conflict, match="no archived rollout found"):
        store.threads.unarchive(of.id, "ann")


def test_threads_that_nobody_used_are_swept_and_those_with_a_turn_are_not(store: Store) -> None:
    long_ago = now_ms() - LOADED_FOR_MS - 1000
    unused, ephemeral = thread(store, used_at_ms=long_ago), materialized(store, ephemeral=True, used_at_ms=long_ago)
    busy = thread(store, ephemeral=True)
    begin(store, busy)
    materialized(store, used_at_ms=long_ago)
    thread(store)

    assert store.threads.all_users_sweep_unused() == 2
    assert store.threads.find(unused.id, "ann") is store.threads.find(ephemeral.id, "ann") is None
    assert store.threads.all_users_sweep_unused() == 0


def test_settings_of_a_turn_become_those_of_the_thread(store: Store) -> None:
    of = thread(store)

    changed = store.threads.change_settings(of.id, "ann", {"model": "other", "cwd": "/new"})

    assert changed.settings == store.threads.get(of.id, "ann").settings == {**SETTINGS, "model": "other", "cwd": "/new"}


def test_the_worker_of_a_deleted_thread_has_lost_its_claim(store: Store) -> None:
    of = running(store)
    store.threads.delete(of.thread_id, "ann")

    with pytest.raises(ClaimLost):
        store.read_step(of)


def test_a_cursor_is_read_as_it_was_written() -> None:
    thread_id = new_id()

    assert parse_cursor(format_cursor(1_795_345_090_123, thread_id)) == (1_795_345_090_123, thread_id)
    assert parse_cursor(format_cursor(1_795_345_090_123, None)) == (1_795_345_090_123, None)
    for cursor in ("", "x", "2026-11-22T11:02:48Z|x", "2026-11-22T11:02:48|" + thread_id):
        with pytest.raises(InvalidRequest, match="invalid cursor"):
            parse_cursor(cursor)
