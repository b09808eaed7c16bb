"""What operators have set for single users: limits beside the defaults of `[limits]`, and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import delete, insert, select

from shared.config import Limits
from shared.store import audit
from shared.store.audit import Act
from shared.store.connection import Database
from shared.store.tables import user_limits


class UserLimits:
    """The user_limits table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def own(self, owner: str) -> dict[str, int]:
        """What was set for this user: names of columns and their values."""
        with self._database.read() as connection:
            row = connection.execute(select(user_limits).where(user_limits.c.owner == owner)).first()
        return {} if row is None else _set(row._mapping)

    def all_users_own(self) -> dict[str, dict[str, int]]:
        """The same of everybody for whom something was set, by owner."""
        with self._database.read() as connection:
            rows = connection.execute(select(user_limits)).all()
        return {row.owner: _set(row._mapping) for row in rows}

    def change(self, owner: str, values: Mapping[str, int | None], *, act: Act | None = None) -> dict[str, int]:
        """Set some, forget those that are None; what is set then."""
        with self._database.write() as connection:
            query = select(user_limits).where(user_limits.c.owner == owner).with_for_update()
            row = connection.execute(query).first()
            merged = {**({} if row is None else _set(row._mapping)), **values}
            kept = {name: value for name, value in merged.items() if value is not None}
            connection.execute(delete(user_limits).where(user_limits.c.owner == owner))
            if kept:
                connection.execute(insert(user_limits).values(owner=owner, **kept))
            audit.write(connection, act, subject_id=owner)
        return kept

    def of(self, owner: str, defaults: Limits) -> Limits:
        """What holds for this user."""
        own = self.own(owner)
        own.pop("weight", None)
        return replace(defaults, **own)


def _set(row: Mapping[Any, Any]) -> dict[str, int]:
    return {name: value for name, value in row.items() if name != "owner" and value is not None}
