"""Workspaces that are made from a source: one maker at a time, and another one when it is lost."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from shared.errors import NotFound
from shared.store import Store
from shared.store.tables import workspaces
from shared.store.threads import Thread
from shared.store.users import LOCAL_USER
from shared.store.workspaces import ABANDONED_MS, Workspace
from tests.shared.store.records import thread

SOURCE = {"type": "git"}


@pytest.fixture
def of(store: Store) -> Thread:
    made = thread(store)
    forked = thread(store)
    with store.database.write() as connection:
        for one in (made, forked):
            values = {"thread_id": one.id, "owner": "ann", "source": SOURCE, "state": "pending", "created_at_ms": 1}
            connection.execute(workspaces.insert().values(values))
    return made


def found(store: Store, of: Thread) -> Workspace:
    workspace = store.workspaces.find(of.id, "ann")
    assert workspace is not None
    return workspace


def age(store: Store, of: Thread, by_ms: int) -> None:
    """Move the last heartbeat of the maker into the past."""
    with store.database.write() as connection:
        aged = update(workspaces).where(workspaces.c.thread_id == of.id)
        connection.execute(aged.values(alive_at_ms=workspaces.c.alive_at_ms - by_ms))


def test_a_workspace_is_made_by_one_maker(store: Store, of: Thread) -> None:
    assert store.workspaces.find(of.id, "bob") is None
    with pytest.raises(NotFound):
        store.workspaces.claim(of.id, "bob", "m1")

    before = store.workspaces.claim(of.id, "ann", "m1")

    assert before is not None
    assert (before.state, before.maker, before.source) == ("pending", None, SOURCE)
    assert found(store, of).maker == "m1"
    assert store.workspaces.claim(of.id, "ann", "m2") is None
    assert store.workspaces.claim(of.id, "ann", "m1") is not None
    assert store.workspaces.renew(of.id, "m1")
    assert not store.workspaces.renew(of.id, "m2")
    assert store.workspaces.mark_placing(of.id, "m1", "tree", "base")
    assert not store.workspaces.mark_placing(of.id, "m2", "other", None)
    store.workspaces.finish(of.id, "m2")
    assert (found(store, of).state, found(store, of).start_tree, found(store, of).base) == ("placing", "tree", "base")

    store.workspaces.finish(of.id, "m1")

    assert (found(store, of).state, found(store, of).maker) == ("ready", None)
    ready = store.workspaces.claim(of.id, "ann", "m3")
    assert ready == found(store, of)
    assert found(store, of).maker is None


def test_a_maker_that_is_lost_is_replaced(store: Store, of: Thread) -> None:
    store.workspaces.claim(of.id, "ann", "m1")
    age(store, of, ABANDONED_MS - 3_000)
    assert store.workspaces.claim(of.id, "ann", "m2") is None
    age(store, of, 3_000)

    before = store.workspaces.claim(of.id, "ann", "m2")

    assert before is not None
    assert before.maker == "m1"
    assert found(store, of).maker == "m2"
    assert not store.workspaces.renew(of.id, "m1")
    assert store.workspaces.claim(of.id, "ann", "m1") is None


def test_a_workspace_that_is_being_placed_keeps_its_makers_folder(store: Store, of: Thread) -> None:
    store.workspaces.claim(of.id, "ann", "m1")
    store.workspaces.mark_placing(of.id, "m1", "tree", None)
    age(store, of, ABANDONED_MS)

    before = store.workspaces.claim(of.id, "ann", "m2")

    assert before is not None
    assert (found(store, of).state, found(store, of).maker) == ("placing", "m1")
    assert store.workspaces.claim(of.id, "ann", "m3") is None


def test_what_failed_or_was_released_is_claimed_at_once(store: Store, of: Thread) -> None:
    store.workspaces.claim(of.id, "ann", "m1")
    store.workspaces.fail(of.id, "m2", "not its maker")
    store.workspaces.fail(of.id, "m1", "no such repository")
    assert (found(store, of).state, found(store, of).reason) == ("failed", "no such repository")

    assert store.workspaces.claim(of.id, "ann", "m2") is not None
    assert (found(store, of).state, found(store, of).reason) == ("pending", None)
    store.workspaces.release(of.id, "m1")
    assert store.workspaces.claim(of.id, "ann", "m3") is None
    store.workspaces.release(of.id, "m2")
    assert store.workspaces.claim(of.id, "ann", "m3") is not None


def test_the_local_user_has_a_name(store: Store) -> None:
    user = store.users.add("ann")

    assert store.workspaces.user_name(user.id) == "ann"
    assert store.workspaces.user_name("local") == LOCAL_USER
