"""Uploaded archives: read in order by their owner, kept for a day, and only a few at a time."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, update

from shared.clock import now_ms
from shared.errors import NotFound, Overloaded
from shared.store import Store
from shared.store.archives import KEPT_MS, MAX_WAITING
from shared.store.tables import archive_chunks, archives


def uploaded(store: Store, owner: str = "ann", chunks: tuple[bytes, ...] = (b"one", b"two!")) -> str:
    archive_id = store.archives.create(owner)
    for number, data in enumerate(chunks):
        store.archives.append(archive_id, owner, number, data)
    store.archives.finish(archive_id, owner)
    return archive_id


def count_chunks(store: Store) -> int:
    with store.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(archive_chunks)) or 0


def test_an_archive_is_read_in_the_order_of_its_chunks(store: Store) -> None:
    uploaded(store, chunks=(b"other",))
    archive_id = store.archives.create("ann")
    store.archives.append(archive_id, "ann", 1, b"two!")
    store.archives.append(archive_id, "ann", 0, b"one")

    assert store.archives.finish(archive_id, "ann") == 7

    store.archives.check(archive_id, "ann")
    assert list(store.archives.read(archive_id, "ann")) == [b"one", b"two!"]


def test_an_archive_is_unknown_to_others_and_until_it_is_complete(store: Store) -> None:
    complete, incomplete = uploaded(store), store.archives.create("ann")

    for archive_id, owner in ((complete, "bob"), (incomplete, "ann")):
        with pytest.raises(NotFound, match="upload it again"):
            store.archives.check(archive_id, owner)
        with pytest.raises(NotFound):
            next(store.archives.read(archive_id, owner))
    for archive_id, owner in ((incomplete, "bob"), (complete, "ann"), ("unknown", "ann")):
        with pytest.raises(NotFound, match="no archive"):
            store.archives.append(archive_id, owner, 9, b"more")
    for archive_id, owner in ((incomplete, "bob"), ("unknown", "ann")):
        with pytest.raises(NotFound, match="no archive"):
            store.archives.finish(archive_id, owner)
    assert count_chunks(store) == 2


def test_only_the_owner_deletes_an_archive_and_its_chunks(store: Store) -> None:
    archive_id, kept = uploaded(store), uploaded(store)

    store.archives.delete(archive_id, "bob")
    assert count_chunks(store) == 4
    store.archives.delete(archive_id, "ann")
    store.archives.delete(archive_id, "ann")

    assert count_chunks(store) == 2
    assert list(store.archives.read(kept, "ann")) == [b"one", b"two!"]


def test_an_owner_has_only_a_few_archives_that_wait(store: Store) -> None:
    made = [store.archives.create("ann") for _ in range(MAX_WAITING)]

    with pytest.raises(Overloaded, match="not used yet"):
        store.archives.create("ann")

    store.archives.create("bob")
    store.archives.delete(made[0], "ann")
    store.archives.create("ann")


def test_archives_expire_after_a_day(store: Store) -> None:
    old, new = uploaded(store), uploaded(store)
    with store.database.write() as connection:
        aged = update(archives).where(archives.c.id == old)
        connection.execute(aged.values(created_at_ms=now_ms() - KEPT_MS - 1))

    assert store.archives.all_users_expire() == 1

    assert store.archives.all_users_expire() == 0
    assert count_chunks(store) == 2
    assert list(store.archives.read(new, "ann")) == [b"one", b"two!"]
