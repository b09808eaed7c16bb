"""Conflicting writes are retried a few times, and only for the unique index that is expected."""

from __future__ import annotations

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from shared.errors import Overloaded
from shared.store import Store
from shared.store.conflicts import MAX_ATTEMPTS, retry_conflicts
from shared.store.tables import user_configs
from shared.store.user_configs import FIRST_CHANGE


class Writer:
    """A write that inserts a row whose key exists, and counts its attempts."""

    def __init__(self, store: Store) -> None:
        self._database = store.user_configs._database
        self.attempts = 0
        self.insert()

    def insert(self) -> None:
        with self._database.write() as connection:
            connection.execute(insert(user_configs).values(owner="ann", version=1, config={}))

    def __call__(self) -> None:
        self.attempts += 1
        self.insert()


def test_an_expected_conflict_is_retried_a_few_times(store: Store) -> None:
    write = Writer(store)

    with pytest.raises(Overloaded):
        retry_conflicts(write, FIRST_CHANGE)

    assert write.attempts == MAX_ATTEMPTS


def test_any_other_conflict_is_raised_at_once(store: Store) -> None:
    write = Writer(store)

    with pytest.raises(IntegrityError):
        retry_conflicts(write, {"another_index": "another.column"})

    assert write.attempts == 1
