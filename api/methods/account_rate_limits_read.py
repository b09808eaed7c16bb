"""account/rateLimits/read: how much of the token budgets is used."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import NoParams
from shared.protocol.base import WireSchema
from shared.protocol.rate_limits import snapshot
from shared.store.usage import Budget

NAME = "account/rateLimits/read"


class Params(NoParams):
    """Shape: {} or nothing. `account/rateLimits/updated` tells of changes while turns run."""


class Result(WireSchema):
    """The day's budget as `primary`, the month's as `secondary`; without the one the other is `primary`.

    Shape:  {"rateLimits": {"primary": {"usedPercent", "windowDurationMins", "resetsAt": s}?, "secondary"?, …},
            "rateLimitsByLimitId": {"codex": the same}?, "ordinaryUsageAllowed": whether something is left}
    Source: PROTOCOL 5.12, schema GetAccountRateLimitsResponse
    """

    rate_limits = fields.Dict()
    rate_limits_by_limit_id = fields.Raw()
    ordinary_usage_allowed = fields.Bool()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    limits = ctx.services.limits.of(ctx.user_id)
    shown = snapshot(ctx.store.usage.standing(ctx.user_id), Budget(limits.tokens_per_day, limits.tokens_per_month))
    return {
        "rate_limits": shown,
        "rate_limits_by_limit_id": {shown["limitId"]: shown} if shown["limitId"] else None,
        "ordinary_usage_allowed": shown["rateLimitReachedType"] is None,
    }
