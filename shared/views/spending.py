"""What users spent in tokens and money, grouped as asked: for `threadhouse usage` and the methods `…usage/read`."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from decimal import Decimal
from typing import Literal, get_args

from shared.config import Prices
from shared.errors import InvalidRequest
from shared.store.usage import MAX_DAYS, ModelUsage, today_utc

Group = Literal["day", "user", "model"]
GROUPS: Sequence[Group] = get_args(Group)
DEFAULT_DAYS = 30


@dataclass(slots=True)
class Spending:
    """What was spent in one group.

    day, owner, model: of the group; None: it is not grouped by that
    tokens:            all; input (with cached_input) and output are of those that have a known model
    cost:              of the tokens that have a price; None: none of them has
    unpriced_tokens:   those without a price
    """

    day: str | None
    owner: str | None
    model: str | None
    _: KW_ONLY
    tokens: int = 0
    input: int = 0
    cached_input: int = 0
    output: int = 0
    cost: Decimal | None = None
    unpriced_tokens: int = 0

    def add(self, used: ModelUsage, prices: Prices) -> None:
        spent = used.spent
        self.tokens += spent.tokens
        self.input += spent.input
        self.cached_input += spent.cached_input
        self.output += spent.output
        counts = {"input": spent.input, "cached_input": spent.cached_input, "output": spent.output}
        cost = prices.cost(spent.model, used.day, **counts)
        if cost is None:
            self.unpriced_tokens += spent.tokens
        else:
            self.cost = (self.cost or Decimal()) + cost

    @property
    def rounded_cost(self) -> float | None:
        """The cost to six digits behind the point."""
        return None if self.cost is None else float(round(self.cost, 6))


def group(
    found: Iterable[ModelUsage], prices: Prices, by: Sequence[Group], *, at_most: int | None = None
) -> list[Spending]:
    """Return what was spent in each group, ordered by day, user id and model. by: none of them: one group.

    Errors: InvalidRequest (there are more groups than at_most)
    """
    groups: dict[tuple[str | None, str | None, str | None], Spending] = {}
    for used in found:
        key = (
            used.day if "day" in by else None,
            used.owner if "user" in by else None,
            used.spent.model if "model" in by else None,
        )
        if key not in groups:
            if len(groups) == at_most:
                raise InvalidRequest(f"there are more than {at_most} groups: ask for fewer days, or group by less")
            groups[key] = Spending(*key)
        groups[key].add(used, prices)
    return [groups[key] for key in sorted(groups, key=lambda key: tuple(part or "" for part in key))]


def days(first: str | None, last: str | None) -> tuple[str, str]:
    """Return the first and the last of the days that are asked for; None: DEFAULT_DAYS days, and today (UTC).

    Errors: InvalidRequest
    """
    try:
        until = datetime.date.fromisoformat(last or today_utc())
        since = datetime.date.fromisoformat(first) if first else until - datetime.timedelta(DEFAULT_DAYS - 1)
    except (ValueError, OverflowError):
        raise InvalidRequest("from, to: expected days, such as 2026-12-31") from None
    if not 0 <= (until - since).days < MAX_DAYS:
        raise InvalidRequest(f"from, to: expected at most {MAX_DAYS} days, the first one first")
    return since.isoformat(), until.isoformat()
