"""account/usage/read: the tokens that one has spent, by day."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ParamsSchema
from shared.protocol.base import WireSchema

NAME = "account/usage/read"


class Params(ParamsSchema):
    """Shape: {} or nothing; other members are ignored"""

    may_be_missing = True


class Result(WireSchema):
    """Input and output of all model calls, of deleted threads too. Days are UTC; those without any are left out.

    Shape:  {"summary": {"lifetimeTokens", "peakDailyTokens", "longestRunningTurnSec": null},
            "dailyUsageBuckets": [{"startDate": "YYYY-MM-DD", "tokens"}], oldest first, a year at most}
    Source: PROTOCOL 5.12, schema GetAccountTokenUsageResponse
    """

    summary = fields.Dict()
    daily_usage_buckets = fields.List(fields.Dict())


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    total, peak = ctx.store.usage.totals(ctx.user_id)
    days = [{"startDate": day, "tokens": tokens} for day, tokens in ctx.store.usage.days(ctx.user_id)]
    summary = {"lifetimeTokens": total, "peakDailyTokens": peak, "longestRunningTurnSec": None}
    return {"summary": summary, "daily_usage_buckets": days}
