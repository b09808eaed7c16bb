"""account/rateLimits/read: Show how much of the caller's token budgets is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import NoParams
from shared.protocol.rate_limits import RateLimitSnapshot
from shared.store.usage import Budget
from shared.views.rate_limits import snapshot

NAME = "account/rateLimits/read"


@dataclass(frozen=True, kw_only=True)
class Params(NoParams):
    """No params. While turns run, `account/rateLimits/updated` notifies the client of changes."""


@dataclass(frozen=True)
class Result:
    """The daily budget is `primary`, the monthly one `secondary`. If there is only one budget, it is `primary`.

    rate_limits_by_limit_id: the same, by limitId; null when there is no budget
    ordinary_usage_allowed: whether some of every budget is left
    Source: PROTOCOL 5.12, schema GetAccountRateLimitsResponse
    """

    rate_limits: RateLimitSnapshot
    rate_limits_by_limit_id: Mapping[str, RateLimitSnapshot] | None
    ordinary_usage_allowed: bool


EXAMPLE = Example(
    result={
        "rateLimits": {
            "limitId": "codex",
            "limitName": None,
            "primary": {"usedPercent": 12, "windowDurationMins": 1440, "resetsAt": 1_764_374_400},
            "secondary": None,
            "credits": None,
            "planType": None,
            "rateLimitReachedType": None,
        },
        "rateLimitsByLimitId": {
            "codex": {
                "limitId": "codex",
                "limitName": None,
                "primary": {"usedPercent": 12, "windowDurationMins": 1440, "resetsAt": 1_764_374_400},
                "secondary": None,
                "credits": None,
                "planType": None,
                "rateLimitReachedType": None,
            }
        },
        "ordinaryUsageAllowed": True,
    }
)


def handle(ctx: Context, params: Params) -> Result:
    limits = ctx.services.limits.of(ctx.user_id)
    shown = snapshot(ctx.store.usage.standing(ctx.user_id), Budget(limits.tokens_per_day, limits.tokens_per_month))
    return Result(
        rate_limits=shown,
        rate_limits_by_limit_id={shown["limitId"]: shown} if shown["limitId"] else None,
        ordinary_usage_allowed=shown["rateLimitReachedType"] is None,
    )
