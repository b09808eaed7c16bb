"""Token usage: what users have spent, by day, and what is reserved for the model calls under way.

A reservation is a column of its turn's row and counts while that turn runs. Every claim begins without one, so the
reservation ends when a worker dies and when a turn ends, parks or is requeued. What a call took is added in the
transaction that stores its answer, and its reservation ends in the same transaction: the sum is right at any instant.
"""

from __future__ import annotations

import calendar
import datetime
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Select,
    String,
    Table,
    bindparam,
    func,
    literal_column,
    select,
    text,
    update,
)

from shared.clock import now_ms
from shared.errors import ClaimLost
from shared.store.connection import DEFERRED, Database
from shared.store.tables import turns
from shared.store.turns import Claim
from shared.store.usage_tables import usage_days, usage_models

MIN_ANSWER_TOKENS = 1000  # with less room than this no request is sent to a model
MAX_DAYS = 366  # in a list
MAX_MODELS = 50  # of one user and day; what is spent on more of them counts as OTHER_MODELS
MAX_MODEL_CHARACTERS = 100  # of a name
OTHER_MODELS = "(others)"
UNKNOWN_MODEL = "(unknown)"


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
    warned:   the periods, "day" and "month", whose budget the user was warned about
    """

    at_ms: int
    day: int
    month: int
    reserved: int
    warned: frozenset[str]

    def room(self, budget: Budget) -> int:
        """Return how many tokens are left, not counting reservations."""
        left = ((budget.per_day, self.day), (budget.per_month, self.month))
        return min(cap - spent for cap, spent in left if cap)

    def resets_at_s(self, period: str) -> int:
        """Return when the next "day" or "month" begins, in Unix seconds."""
        today = _day(self.at_ms)
        days = 1 if period == "day" else days_of_month(self.at_ms) - today.day + 1
        return calendar.timegm((today + datetime.timedelta(days)).timetuple())


@dataclass(frozen=True, slots=True)
class Spent:
    """What one model call took, in tokens as the model counted them.

    model:        as the thread's settings name it
    tokens:       what counts against budgets
    input:        cached_input is a part of it
    """

    model: str
    tokens: int
    input: int = 0
    cached_input: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What one user spent on one model on one day, YYYY-MM-DD in UTC.

    spent: its model is UNKNOWN_MODEL for tokens of which the database knows nothing but their number
    """

    day: str
    owner: str
    spent: Spent


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room for one model call.

    answer_tokens: the most that the model may answer with; 0: there is no room
    comes_back:    there is no room because of other reservations, parts of which may become free
    """

    answer_tokens: int
    standing: Standing
    comes_back: bool = False


class Usage:
    """The tables usage_days and usage_models, and reservations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def standing(self, owner: str) -> Standing:
        with self._database.read() as connection:
            return _standing(connection, owner, "")

    def reserve(self, claim: Claim, budget: Budget, input_tokens: int, answer_tokens: int) -> Reservation:
        """Reserve room for one model call of a turn, in place of an earlier reservation. Errors: ClaimLost.

        answer_tokens: the most that the model may answer with; less is granted when less is left
        """
        with self._database.write() as connection:
            self._database.lock_budget(connection, claim.owner)
            standing = _standing(connection, claim.owner, claim.turn_id)
            room = standing.room(budget) - input_tokens
            granted = answer_tokens
            if room - standing.reserved < answer_tokens:
                if room < min(MIN_ANSWER_TOKENS, answer_tokens):
                    return Reservation(0, standing)
                if standing.reserved:
                    return Reservation(0, standing, comes_back=True)
                granted = room
            values = {"of": claim.turn_id, "claim": claim.claim_no, "tokens": input_tokens + granted}
            if connection.execute(_RESERVE, values).rowcount == 0:
                raise ClaimLost("another worker has claimed the turn")
        return Reservation(granted, standing)

    def mark_warned(self, owner: str, period: str) -> bool:
        """Mark that the user is warned about a "day"'s or "month"'s budget. Returns whether this is the first time."""
        column = usage_days.c[f"{period}_warned"]
        today = _day(now_ms()).isoformat()
        marked = update(usage_days).where(usage_days.c.owner == owner, usage_days.c.day == today, column == 0)
        with self._database.write() as connection:
            self._database.lock_budget(connection, owner)
            if period in _standing(connection, owner, "").warned:
                return False
            return bool(connection.execute(marked.values({column: 1})).rowcount)

    def days(self, owner: str) -> list[tuple[str, int]]:
        """Return (YYYY-MM-DD, tokens) for days with usage, oldest first; at most the newest MAX_DAYS."""
        query = select(usage_days.c.day, usage_days.c.tokens).where(usage_days.c.owner == owner)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(usage_days.c.day.desc()).limit(MAX_DAYS)).all()
        return [(row.day, row.tokens) for row in reversed(rows)]

    def by_model(self, owner: str, first_day: str, last_day: str) -> Iterator[ModelUsage]:
        """Yield what one user spent, as `all_users_by_model` does."""
        return self.all_users_by_model(first_day, last_day, owner=owner)

    def all_users_by_model(self, first_day: str, last_day: str, *, owner: str | None = None) -> Iterator[ModelUsage]:
        """Yield what was spent from one day to another, YYYY-MM-DD, both included. owner: only this one.

        The sum is that of usage_days. What is missing in usage_models, because a process of 0.1.0 counted it, has the
        model UNKNOWN_MODEL.
        """
        with self._database.read() as connection:
            missing: Counter[tuple[str, str]] = Counter()
            for row in connection.execute(_between(usage_days, first_day, last_day, owner)):
                missing[row.day, row.owner] = row.tokens
            for row in connection.execute(_between(usage_models, first_day, last_day, owner)):
                missing[row.day, row.owner] -= row.tokens
                counts = (row.tokens, row.input_tokens, row.cached_input_tokens, row.output_tokens)
                yield ModelUsage(row.day, row.owner, Spent(row.model, *counts))
        for (day, user_id), tokens in missing.items():
            if tokens > 0:
                yield ModelUsage(day, user_id, Spent(UNKNOWN_MODEL, tokens))

    def all_users_tokens(self, day: str) -> dict[str, int]:
        """Return owner → tokens spent on a day, of those who spent any on a known model."""
        query = select(usage_models.c.owner, func.sum(usage_models.c.tokens)).where(usage_models.c.day == day)
        with self._database.read() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query.group_by(usage_models.c.owner))}

    def totals(self, owner: str) -> tuple[int, int]:
        """Return what the user has spent in all, and on the day with the most usage."""
        query = select(
            func.coalesce(func.sum(usage_days.c.tokens), 0), func.coalesce(func.max(usage_days.c.tokens), 0)
        ).where(usage_days.c.owner == owner)
        with self._database.read() as connection:
            total, peak = connection.execute(query).one()
        return int(total), int(peak)


def add(connection: Connection, spent: Sequence[tuple[str, Spent]]) -> None:
    """Add what owners spent to today's usage.

    It comes last in a transaction and in order of owners, so that no transaction waits while it holds a row of another.
    Who changes rows of usage_models has the owner's row of usage_days.
    """
    today = _day(now_ms()).isoformat()
    by_owner: Counter[str] = Counter()
    by_model: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for owner, one in spent:
        by_owner[owner] += one.tokens
        counts = {"tokens": one.tokens, "input": one.input, "cached_input": one.cached_input, "output": one.output}
        by_model[owner, model_name(one.model)].update(counts)
    connection.execute(
        _ADD, [{"owner": owner, "day": today, "tokens": tokens} for owner, tokens in sorted(by_owner.items())]
    )
    rows = [{"owner": owner, "day": today, "model": model, **of} for (owner, model), of in sorted(by_model.items())]
    connection.execute(_ADD_MODEL, rows)


def model_name(model: str) -> str:
    """Return a model's name as usage has it: a client may have made it up, and it gets on operators' screens."""
    return _UNUSUAL.sub("?", model)[:MAX_MODEL_CHARACTERS] or "?"


def today_utc() -> str:
    """Return the day that counts now, as YYYY-MM-DD."""
    return _day(now_ms()).isoformat()


def days_of_month(at_ms: int) -> int:
    day = _day(at_ms)
    return calendar.monthrange(day.year, day.month)[1]


_ADD = text(
    "INSERT INTO usage_days (owner, day, tokens, day_warned, month_warned) VALUES (:owner, :day, :tokens, 0, 0) "
    "ON CONFLICT (owner, day) DO UPDATE SET tokens = usage_days.tokens + excluded.tokens"
).execution_options(**DEFERRED)
# A user who makes names of models up does not fill the table.
_ADD_MODEL = (
    text(
        "INSERT INTO usage_models (day, owner, model, tokens, input_tokens, cached_input_tokens, output_tokens) "
        "SELECT :day, :owner, CASE "
        "WHEN EXISTS (SELECT 1 FROM usage_models WHERE day = :day AND owner = :owner AND model = :model) THEN :model "
        "WHEN (SELECT count(*) FROM usage_models WHERE day = :day AND owner = :owner) "
        f"< {MAX_MODELS} THEN :model ELSE '{OTHER_MODELS}' END, :tokens, :input, :cached_input, :output WHERE true "
        "ON CONFLICT (day, owner, model) DO UPDATE SET tokens = usage_models.tokens + excluded.tokens, "
        "input_tokens = usage_models.input_tokens + excluded.input_tokens, "
        "cached_input_tokens = usage_models.cached_input_tokens + excluded.cached_input_tokens, "
        "output_tokens = usage_models.output_tokens + excluded.output_tokens"
    )
    .bindparams(
        *(bindparam(name, type_=String) for name in ("day", "owner", "model")),
        *(bindparam(name, type_=BigInteger) for name in ("tokens", "input", "cached_input", "output")),
    )
    .execution_options(**DEFERRED)
)
_UNUSUAL = re.compile(r"[^A-Za-z0-9 ._:/@+-]")
_RESERVE = (
    update(turns)
    .where(turns.c.id == bindparam("of"), turns.c.claim_no == bindparam("claim"), turns.c.phase == "running")
    .values(reserved_tokens=bindparam("tokens"))
)
_OF_DAY = usage_days.c.day == bindparam("day")
_RESERVED = select(func.coalesce(func.sum(turns.c.reserved_tokens), 0)).where(
    turns.c.owner == bindparam("owner"), turns.c.phase == literal_column("'running'"), turns.c.id != bindparam("but")
)
# One statement reads one instant: tokens that are settled meanwhile are in exactly one of the sums.
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


def _between(table: Table, first_day: str, last_day: str, owner: str | None) -> Select[Any]:
    query = select(table).where(table.c.day >= first_day, table.c.day <= last_day)
    return query if owner is None else query.where(table.c.owner == owner)


def _day(at_ms: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).date()
