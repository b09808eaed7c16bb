"""Limits and weights that operators have set for single users; the defaults are in `[limits]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import delete, insert, select

from shared.config import Limits
from shared.store import audit
from shared.store.audit import AuditEntry
from shared.store.connection import Database
from shared.store.tables import user_limits


class UserLimits:
    """The user_limits table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def own(self, owner: str) -> dict[str, int]:
        """Return what was set for this user: column name → value."""
        with self._database.read() as connection:
            row = connection.execute(select(user_limits).where(user_limits.c.owner == owner)).first()
        return {} if row is None else _set(row._mapping)

    def all_users_own(self) -> dict[str, dict[str, int]]:
        """Return owner → column name → value, for all users who have something set."""
        with self._database.read() as connection:
            rows = connection.execute(select(user_limits)).all()
        return {row.owner: _set(row._mapping) for row in rows}

    def change(
        self, owner: str, values: Mapping[str, int | None], *, audit_entry: AuditEntry | None = None
    ) -> dict[str, int]:
        """Set values, and remove those that are None. Returns what is set afterwards."""
        with self._database.write() as connection:
            query = select(user_limits).where(user_limits.c.owner == owner).with_for_update()
            row = connection.execute(query).first()
            merged = {**({} if row is None else _set(row._mapping)), **values}
            kept = {name: value for name, value in merged.items() if value is not None}
            connection.execute(delete(user_limits).where(user_limits.c.owner == owner))
            if kept:
                connection.execute(insert(user_limits).values(owner=owner, **kept))
            audit.write(connection, audit_entry, subject_id=owner)
        return kept

    def of(self, owner: str, defaults: Limits) -> Limits:
        """Return the limits in force for this user."""
        own = self.own(owner)
        own.pop("weight", None)
        return replace(defaults, **own)


def _set(row: Mapping[Any, Any]) -> dict[str, int]:
    return {name: value for name, value in row.items() if name != "owner" and value is not None}
