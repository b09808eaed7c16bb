"""account/usage/read: Show the tokens that the caller has used, by day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import NoParams

NAME = "account/usage/read"


@dataclass(frozen=True, kw_only=True)
class Params(NoParams):
    """No params; other members are ignored."""


class UsageSummary(TypedDict):
    """Totals of the caller.

    peakDailyTokens: the tokens of the day with the most
    longestRunningTurnSec: always null: not recorded
    """

    lifetimeTokens: int
    peakDailyTokens: int
    longestRunningTurnSec: None


class DailyUsage(TypedDict):
    """The tokens of one day. startDate: YYYY-MM-DD, UTC"""

    startDate: str
    tokens: int


@dataclass(frozen=True)
class Result:
    """Input and output tokens of all model calls, those of deleted threads included.

    daily_usage_buckets: oldest first, at most a year; days without tokens are left out
    Source: PROTOCOL 5.12, schema GetAccountTokenUsageResponse
    """

    summary: UsageSummary
    daily_usage_buckets: Sequence[DailyUsage]


EXAMPLE = Example(
    result={
        "summary": {"lifetimeTokens": 41_200, "peakDailyTokens": 30_100, "longestRunningTurnSec": None},
        "dailyUsageBuckets": [
            {"startDate": "2025-11-27", "tokens": 11_100},
            {"startDate": "2025-11-28", "tokens": 30_100},
        ],
    }
)


def handle(ctx: Context, params: Params) -> Result:
    total, peak = ctx.store.usage.totals(ctx.user_id)
    days: list[DailyUsage] = [{"startDate": day, "tokens": tokens} for day, tokens in ctx.store.usage.days(ctx.user_id)]
    summary: UsageSummary = {"lifetimeTokens": total, "peakDailyTokens": peak, "longestRunningTurnSec": None}
    return Result(summary=summary, daily_usage_buckets=days)
