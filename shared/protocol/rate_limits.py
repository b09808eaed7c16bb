"""Token budgets as clients see them: the original's rate limits (schema GetAccountRateLimitsResponse)."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.store.usage import Budget, Standing

UPDATED = "account/rateLimits/updated"
DAY_MINUTES = 24 * 60


def snapshot(standing: Standing, budget: Budget) -> dict[str, Any]:
    """RateLimitSnapshot: the day's budget first, then the month's, as far as there are any."""
    windows = [_window(standing, period, spent, cap) for period, spent, cap in periods(standing, budget)]
    primary, secondary = (*windows, None, None)[:2]
    used_up = any(spent >= cap for _, spent, cap in periods(standing, budget))
    return {
        "limitId": "codex" if windows else None,
        "limitName": None,
        "primary": primary,
        "secondary": secondary,
        "credits": None,
        "planType": None,
        "rateLimitReachedType": "rate_limit_reached" if used_up else None,
    }


def periods(standing: Standing, budget: Budget) -> list[tuple[str, int, int]]:
    """("day" or "month", tokens spent in it, its budget) of those that have one."""
    both = (("day", standing.day, budget.per_day), ("month", standing.month, budget.per_month))
    return [one for one in both if one[2]]


def told_reset(standing: Standing, period: str) -> str:
    """When a period ends, in words."""
    at = datetime.datetime.fromtimestamp(standing.resets_at_s(period), datetime.UTC)
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _window(standing: Standing, period: str, spent: int, cap: int) -> dict[str, Any]:
    from shared.store.usage import days_of_month

    days = 1 if period == "day" else days_of_month(standing.at_ms)
    return {
        "usedPercent": min(100, spent * 100 // cap),
        "windowDurationMins": days * DAY_MINUTES,
        "resetsAt": standing.resets_at_s(period),
    }
