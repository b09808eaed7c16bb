"""Alerts: what was wrong with the deployment, since when and until when.

Whoever watches (shared.alerts) says what holds now; rows begin and end by that. A row of its own, named WATCH, says
when somebody looked last, so that a time in which nobody did is not taken for a good one. Rows belong to the operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, and_, bindparam, delete, select, text, update

from shared.ids import new_id
from shared.store.alert_tables import alerts
from shared.store.connection import Database

WATCH = ""
GAP_MS = 120_000  # without a look, after which nobody has watched
KEPT_MS = 7 * 86_400_000  # for which an alert stays after its end
MAX_LISTED = 500
MAX_MESSAGE_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Alert:
    """One problem. Times are Unix ms by the database's clock; until_ms: None: it holds now"""

    name: str
    message: str
    since_ms: int
    until_ms: int | None


class Alerts:
    """The alerts table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(
        self, holding: Mapping[str, str], *, for_ms: Mapping[str, int], stays_ms: Mapping[str, int], unwatched: str
    ) -> None:
        """Store what holds now: name → message. What held and does so no longer ends.

        for_ms:    name → for how long a problem must hold; one that ends sooner is forgotten
        stays_ms:  name → for how long a problem that `add` has stored holds
        unwatched: the name of the problem that nobody looked
        """
        with self._database.write() as connection:
            at_ms = self._now(connection)
            is_open = alerts.c.until_ms.is_(None)
            query = select(alerts).where(is_open).order_by(alerts.c.id).with_for_update()
            known = {row.name: row for row in connection.execute(query)}
            watch = known.pop(WATCH, None)
            if watch is not None and at_ms - watch.seen_at_ms > GAP_MS:
                _insert(connection, unwatched, "", since_ms=watch.seen_at_ms, until_ms=at_ms)
            _see(connection, {**holding, WATCH: ""}, at_ms)
            for name in known.keys() - holding.keys():
                row = known[name]
                if at_ms - row.seen_at_ms < stays_ms.get(name, 0):
                    continue
                this = and_(alerts.c.id == row.id, is_open)
                if at_ms - row.since_ms < for_ms.get(name, 0):
                    connection.execute(delete(alerts).where(this))
                else:
                    connection.execute(update(alerts).where(this).values(until_ms=at_ms))
            connection.execute(delete(alerts).where(alerts.c.until_ms < at_ms - KEPT_MS))

    def add(self, name: str, message: str) -> None:
        """Store that something has happened that counts as a problem for a while."""
        with self._database.write() as connection:
            _see(connection, {name: message}, self._now(connection))

    def all_users_list(self, since_ms: int) -> list[Alert]:
        """Return what holds now, and then what ended since then, the latest first; at most MAX_LISTED."""
        recent = alerts.c.until_ms.is_(None) | (alerts.c.until_ms >= since_ms)
        order: tuple[ColumnElement[Any], ...] = (alerts.c.until_ms.is_not(None), alerts.c.since_ms.desc())
        query = select(alerts).where(recent, alerts.c.name != WATCH).order_by(*order).limit(MAX_LISTED)
        with self._database.read() as connection:
            return [Alert(row.name, row.message, row.since_ms, row.until_ms) for row in connection.execute(query)]

    def watched_at_ms(self) -> int | None:
        """Return when somebody looked last. None: nobody ever did."""
        query = select(alerts.c.seen_at_ms).where(alerts.c.name == WATCH, alerts.c.until_ms.is_(None))
        with self._database.read() as connection:
            return connection.scalar(query)

    def _now(self, connection: Connection) -> int:
        return int(connection.scalar(select(self._database.now_ms())) or 0)


def _see(connection: Connection, holding: Mapping[str, str], at_ms: int) -> None:
    """Begin or continue alerts. Several processes may do so at once."""
    for name, message in holding.items():
        values = {"message": message[:MAX_MESSAGE_CHARACTERS], "seen_at_ms": at_ms}
        of_name = and_(alerts.c.name == name, alerts.c.until_ms.is_(None))
        if connection.execute(update(alerts).where(of_name).values(values)).rowcount == 0:
            _insert(connection, name, message, since_ms=at_ms, until_ms=None)


def _insert(connection: Connection, name: str, message: str, *, since_ms: int, until_ms: int | None) -> None:
    new = {"id": new_id(), "name": name, "message": message[:MAX_MESSAGE_CHARACTERS]}
    connection.execute(_INSERT, {**new, "since": since_ms, "until": until_ms})


_INSERT = text(
    "INSERT INTO alerts (id, name, message, since_ms, seen_at_ms, until_ms) "
    "VALUES (:id, :name, :message, :since, :since, :until) ON CONFLICT DO NOTHING"
).bindparams(bindparam("since", type_=BigInteger), bindparam("until", type_=BigInteger))
