"""Who did what: ids only, appended and never changed."""

from __future__ import annotations

from sqlalchemy import insert

from shared.clock import now_ms
from shared.store.connection import Database
from shared.store.tables import audit


class Audit:
    """The audit table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self,
        owner: str,
        action: str,
        *,
        thread_id: str | None = None,
        subject_id: str | None = None,
        detail: str | None = None,
    ) -> None:
        """owner: who did it; action: the method; detail: such as the decision of an approval, never content."""
        values = {
            "at_ms": now_ms(),
            "owner": owner,
            "action": action,
            "thread_id": thread_id,
            "subject_id": subject_id,
            "detail": detail,
        }
        with self._database.write() as connection:
            connection.execute(insert(audit).values(values))
