"""Retries of writes that another transaction preceded by inserting the same unique key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from sqlalchemy.exc import IntegrityError

from shared.errors import Overloaded

MAX_ATTEMPTS = 5
SQLITE_PREFIX = "UNIQUE constraint failed: "

Result = TypeVar("Result")


def retry_conflicts(write: Callable[[], Result], indexes: Mapping[str, str]) -> Result:
    """Call write() again when it violates one of these unique indexes; it then finds the row of the other transaction.

    indexes: name of the index → its columns as SQLite's error names them, such as "turns.thread_id, turns.client_id"
    Errors:  those of write(), IntegrityError of anything else at once; Overloaded after MAX_ATTEMPTS
    """
    for _ in range(MAX_ATTEMPTS):
        try:
            return write()
        except IntegrityError as error:
            if not _violates(error, indexes):
                raise
    raise Overloaded("other requests change the same record at this moment; retry shortly")


def _violates(error: IntegrityError, indexes: Mapping[str, str]) -> bool:
    name = getattr(getattr(error.orig, "diag", None), "constraint_name", None)  # psycopg
    if name is not None:
        return name in indexes
    return str(error.orig).removeprefix(SQLITE_PREFIX) in indexes.values()
