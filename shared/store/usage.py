"""Tokens: what users have spent, by day, and what is kept back for the model calls under way.

A reservation stands in the row of its turn and counts while that turn runs. Every claim begins without one, so a worker
that dies, and a turn that ends, parks or is handed over, give it back without a word. What a call took is added in the
transaction that stores its answer, and its reservation goes with it: at any instant the sum is right.
"""

from __future__ import annotations

import calendar
import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, literal_column, select, text, update

from shared.clock import now_ms
from shared.errors import ClaimLost
from shared.store.connection import Database
from shared.store.tables import turns, usage_days
from shared.store.turns import Claim

LEAST_ANSWER_TOKENS = 1000  # with less room than this a model is not asked at all
MAX_DAYS = 366  # that are listed


@dataclass(frozen=True, slots=True)
class Budget:
    """How many tokens a user may spend in a day and in a calendar month (UTC). 0: no limit."""

    per_day: int = 0
    per_month: int = 0

    def __bool__(self) -> bool:
        return bool(self.per_day or self.per_month)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a user has spent, in tokens, since midnight and since the first of the month (UTC).

    reserved: for model calls that other turns of the user make now
    warned:   of "day" and "month", those whose budget the user was warned of
    """

    at_ms: int
    day: int
    month: int
    reserved: int
    warned: frozenset[str]

    def room(self, budget: Budget) -> int:
        """What is left, reservations aside."""
        left = ((budget.per_day, self.day), (budget.per_month, self.month))
        return min(cap - spent for cap, spent in left if cap)

    def resets_at_s(self, period: str) -> int:
        """When the next "day" or "month" begins, in Unix seconds."""
        today = _day(self.at_ms)
        days = 1 if period == "day" else days_of_month(self.at_ms) - today.day + 1
        return calendar.timegm((today + datetime.timedelta(days)).timetuple())


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room for one model call. answer_tokens: as many as it may answer with; 0: there is no room.

    comes_back: the room is reserved, and what of it is not needed becomes free
    """

    answer_tokens: int
    standing: Standing
    comes_back: bool = False


class Usage:
    """The usage_days table, and reservations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def standing(self, owner: str) -> Standing:
        with self._database.read() as connection:
            return _standing(connection, owner, "")

    def reserve(self, claim: Claim, budget: Budget, input_tokens: int, answer_tokens: int) -> Reservation:
        """Keep room for one model call of a turn; an earlier reservation of the turn is given up. Errors: ClaimLost.

        answer_tokens: the most that the model may answer; what is granted is less when that is all there is
        """
        with self._database.write() as connection:
            self._database.lock_budget(connection, claim.owner)
            standing = _standing(connection, claim.owner, claim.turn_id)
            room = standing.room(budget) - input_tokens
            granted = answer_tokens
            if room - standing.reserved < answer_tokens:
                if room < min(LEAST_ANSWER_TOKENS, answer_tokens):
                    return Reservation(0, standing)
                if standing.reserved:
                    return Reservation(0, standing, comes_back=True)
                granted = room
            held = {"of": claim.turn_id, "held": claim.claim_no, "tokens": input_tokens + granted}
            if connection.execute(_RESERVE, held).rowcount == 0:
                raise ClaimLost("another worker has the turn")
        return Reservation(granted, standing)

    def mark_warned(self, owner: str, period: str) -> bool:
        """The user is warned of a "day"'s or "month"'s budget; whether this is the first time. Once at most."""
        column = usage_days.c[f"{period}_warned"]
        today = _day(now_ms()).isoformat()
        marked = update(usage_days).where(usage_days.c.owner == owner, usage_days.c.day == today, column == 0)
        with self._database.write() as connection:
            self._database.lock_budget(connection, owner)
            if period in _standing(connection, owner, "").warned:
                return False
            return bool(connection.execute(marked.values({column: 1})).rowcount)

    def days(self, owner: str) -> list[tuple[str, int]]:
        """(YYYY-MM-DD, tokens) of the days on which the user spent some, oldest first; the newest MAX_DAYS."""
        query = select(usage_days.c.day, usage_days.c.tokens).where(usage_days.c.owner == owner)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(usage_days.c.day.desc()).limit(MAX_DAYS)).all()
        return [(row.day, row.tokens) for row in reversed(rows)]

    def totals(self, owner: str) -> tuple[int, int]:
        """What the user has ever spent, and on the most expensive day."""
        query = select(
            func.coalesce(func.sum(usage_days.c.tokens), 0), func.coalesce(func.max(usage_days.c.tokens), 0)
        ).where(usage_days.c.owner == owner)
        with self._database.read() as connection:
            total, peak = connection.execute(query).one()
        return int(total), int(peak)


def add(connection: Connection, spent: Mapping[str, int]) -> None:
    """Count tokens, by owner, as today's. The last thing of a transaction: who waits for a row holds no other's."""
    today = _day(now_ms()).isoformat()
    rows = [{"owner": owner, "day": today, "tokens": tokens} for owner, tokens in sorted(spent.items())]
    connection.execute(_ADD, rows)


def days_of_month(at_ms: int) -> int:
    day = _day(at_ms)
    return calendar.monthrange(day.year, day.month)[1]


_ADD = text(
    "INSERT INTO usage_days (owner, day, tokens, day_warned, month_warned) VALUES (:owner, :day, :tokens, 0, 0) "
    "ON CONFLICT (owner, day) DO UPDATE SET tokens = usage_days.tokens + excluded.tokens"
)
_RESERVE = (
    update(turns)
    .where(turns.c.id == bindparam("of"), turns.c.claim_no == bindparam("held"), turns.c.phase == "running")
    .values(reserved_tokens=bindparam("tokens"))
)
_OF_DAY = usage_days.c.day == bindparam("day")
_RESERVED = select(func.coalesce(func.sum(turns.c.reserved_tokens), 0)).where(
    turns.c.owner == bindparam("owner"), turns.c.phase == literal_column("'running'"), turns.c.id != bindparam("but")
)
# One statement, and so one instant: what is settled meanwhile is in one of the sums, and in one only.
_STANDING = select(
    func.coalesce(func.sum(usage_days.c.tokens), 0).label("month"),
    func.coalesce(func.sum(usage_days.c.tokens).filter(_OF_DAY), 0).label("day"),
    func.coalesce(func.max(usage_days.c.month_warned), 0).label("month_warned"),
    func.coalesce(func.max(usage_days.c.day_warned).filter(_OF_DAY), 0).label("day_warned"),
    _RESERVED.scalar_subquery().label("reserved"),
).where(
    usage_days.c.owner == bindparam("owner"),
    usage_days.c.day >= bindparam("first"),
    usage_days.c.day <= bindparam("day"),
)


def _standing(connection: Connection, owner: str, but_turn_id: str) -> Standing:
    at_ms = now_ms()
    today = _day(at_ms)
    asked = {"owner": owner, "but": but_turn_id, "day": today.isoformat(), "first": today.replace(day=1).isoformat()}
    row = connection.execute(_STANDING, asked).one()
    warned = frozenset(period for period in ("day", "month") if row._mapping[f"{period}_warned"])
    return Standing(at_ms, int(row.day), int(row.month), int(row.reserved), warned)


def _day(at_ms: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).date()
