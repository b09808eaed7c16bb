"""admin/usage/read: Read what users spent, in tokens and money. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from api.methods.usage_read import MAX_GROUPS, SpendingObject, spending_object
from api.requests import admin
from api.requests.context import Context
from api.requests.examples import USER_ID, Example
from api.requests.params import MethodParams
from shared.views import spending

NAME = "admin/usage/read"
SLOW = True  # a year of many users takes seconds


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """Which usage to return.

    from_day: YYYY-MM-DD in UTC, 30 days in all unless given; at most 366 days
    to_day:   the last day; today unless given
    group_by: by all three unless given
    user_id:  only this user
    Errors:   Forbidden; InvalidRequest (no days, or more than 10,000 groups)
    """

    from_day: str | None = None
    to_day: str | None = None
    group_by: Sequence[Literal["day", "user", "model"]] | None = None
    user_id: str | None = None


@dataclass(frozen=True)
class Result:
    """data: ordered by day, user and model. from_day, to_day: the days that were counted"""

    from_day: str
    to_day: str
    currency: str
    data: Sequence[SpendingObject]


EXAMPLE = Example(
    params={"fromDay": "2025-11-01", "toDay": "2025-11-30", "groupBy": ["user", "model"]},
    result={
        "fromDay": "2025-11-01",
        "toDay": "2025-11-30",
        "currency": "USD",
        "data": [
            {
                "day": None,
                "userId": USER_ID,
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
    admin.check_admin(ctx)
    first, last = spending.days(params.from_day, params.to_day)
    ctx.store.audit.append(ctx.audit_entry(NAME), subject_id=params.user_id)
    used = ctx.store.usage.all_users_by_model(first, last, owner=params.user_id)
    by = spending.GROUPS if params.group_by is None else params.group_by
    found = spending.group(used, ctx.config.prices, by, at_most=MAX_GROUPS)
    return Result(
        from_day=first, to_day=last, currency=ctx.config.prices.currency, data=[spending_object(one) for one in found]
    )
