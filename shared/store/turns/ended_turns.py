"""Turns that have ended in the last days, for operators: whose they were, when and how they ended. No content."""

from __future__ import annotations

from sqlalchemy import or_, select

from shared.clock import now_ms
from shared.ids import first_id
from shared.store.connection import Database
from shared.store.tables import turns
from shared.store.turns import Turn, rows

KEPT_MS = 7 * 24 * 3600 * 1000  # how long a turn is listed; of all that were made since then, one page is read


class EndedTurns:
    """Turns that are done."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all_users_page(
        self, *, status: str | None = None, owner: str | None = None, after_id: str | None, limit: int
    ) -> list[Turn]:
        """Return a page of the turns that were made within KEPT_MS and have ended, the last one made first.

        after_id: the last turn of the page before
        """
        # Ids sort by the time when they were made, so that the primary key gives the order.
        query = select(turns).where(turns.c.id >= first_id(now_ms() - KEPT_MS), turns.c.phase == "done")
        # A copy of a fork or an import has begun, and no worker has claimed it.
        query = query.where(or_(turns.c.claimed_at_ms.is_not(None), turns.c.started_at_ms.is_(None)))
        for column, value in ((turns.c.status, status), (turns.c.owner, owner)):
            if value is not None:
                query = query.where(column == value)
        if after_id is not None:
            query = query.where(turns.c.id < after_id)
        with self._database.read() as connection:
            return [rows.from_row(row) for row in connection.execute(query.order_by(turns.c.id.desc()).limit(limit))]
