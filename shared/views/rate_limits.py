"""Token budgets as clients see them: the original's rate limits (schema GetAccountRateLimitsResponse)."""

from __future__ import annotations

import datetime

from shared.protocol.rate_limits import RateLimitSnapshot, RateLimitWindow
from shared.store.usage import Budget, Standing, days_of_month

DAY_MINUTES = 24 * 60


def snapshot(standing: Standing, budget: Budget) -> RateLimitSnapshot:
    """Return the windows of the user's budgets: the day's first, then the month's, as far as there are any."""
    limited = periods(standing, budget)
    windows = [_window(standing, period, spent, cap) for period, spent, cap in limited]
    primary, secondary = (*windows, None, None)[:2]
    used_up = any(spent >= cap for _, spent, cap in limited)
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
    """Return ("day" or "month", tokens spent in it, its budget) of each period that has a budget."""
    both = (("day", standing.day, budget.per_day), ("month", standing.month, budget.per_month))
    return [period for period in both if period[2]]


def reset_text(standing: Standing, period: str) -> str:
    """Return when a period ends, as "YYYY-MM-DD HH:MM UTC"."""
    at = datetime.datetime.fromtimestamp(standing.resets_at_s(period), datetime.UTC)
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _window(standing: Standing, period: str, spent: int, cap: int) -> RateLimitWindow:
    days = 1 if period == "day" else days_of_month(standing.at_ms)
    return {
        "usedPercent": min(100, spent * 100 // cap),
        "windowDurationMins": days * DAY_MINUTES,
        "resetsAt": standing.resets_at_s(period),
    }
