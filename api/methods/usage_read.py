"""usage/read: Read what the caller spent, in tokens and money. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams
from shared.views import spending

NAME = "usage/read"
SLOW = True  # a year of many models takes longer than a moment
MAX_GROUPS = 10_000


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """Which usage to return.

    from_day: YYYY-MM-DD in UTC, 30 days in all unless given; at most 366 days
    to_day:   the last day; today unless given
    group_by: by both unless given
    Errors:   InvalidRequest (no days, or more than 10,000 groups)
    """

    from_day: str | None = None
    to_day: str | None = None
    group_by: Sequence[Literal["day", "model"]] = ("day", "model")


class SpendingObject(TypedDict):
    """What was spent in one group. day, userId, model: null where it is not grouped by that.

    model:             "(unknown)" for tokens that were counted without a model, "(others)" beyond 50 models a day
    inputTokens:       with cachedInputTokens; these three are of tokens with a known model
    cost:              of the tokens whose model has a price now; null: none of them has
    unpricedTokens:    the tokens without a price
    """

    day: str | None
    userId: str | None
    model: str | None
    tokens: int
    inputTokens: int
    cachedInputTokens: int
    outputTokens: int
    cost: float | None
    unpricedTokens: int


@dataclass(frozen=True)
class Result:
    """data: ordered by day and model. from_day, to_day: the days that were counted"""

    from_day: str
    to_day: str
    currency: str
    data: Sequence[SpendingObject]


EXAMPLE = Example(
    params={"fromDay": "2025-11-24", "toDay": "2025-11-30", "groupBy": ["model"]},
    result={
        "fromDay": "2025-11-24",
        "toDay": "2025-11-30",
        "currency": "USD",
        "data": [
            {
                "day": None,
                "userId": None,
                "model": "gpt-5.5",
                "tokens": 41_200,
                "inputTokens": 40_000,
                "cachedInputTokens": 10_000,
                "outputTokens": 1200,
                "cost": 0.05075,
                "unpricedTokens": 0,
            }
        ],
    },
)


def handle(ctx: Context, params: Params) -> Result:
    first, last = spending.days(params.from_day, params.to_day)
    used = ctx.store.usage.by_model(ctx.user_id, first, last)
    found = spending.group(used, ctx.config.prices, params.group_by, at_most=MAX_GROUPS)
    shown = [spending_object(one) for one in found]
    return Result(from_day=first, to_day=last, currency=ctx.config.prices.currency, data=shown)


def spending_object(one: spending.Spending) -> SpendingObject:
    return {
        "day": one.day,
        "userId": one.owner,
        "model": one.model,
        "tokens": one.tokens,
        "inputTokens": one.input,
        "cachedInputTokens": one.cached_input,
        "outputTokens": one.output,
        "cost": one.rounded_cost,
        "unpricedTokens": one.unpriced_tokens,
    }
