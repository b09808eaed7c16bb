"""Rate limits of an account (schema GetAccountRateLimitsResponse of the original); this server shows token budgets."""

from __future__ import annotations

from typing import TypedDict

UPDATED = "account/rateLimits/updated"


class RateLimitWindow(TypedDict):
    """How much of one period's budget is used. resetsAt: Unix seconds."""

    usedPercent: int
    windowDurationMins: int
    resetsAt: int


class RateLimitSnapshot(TypedDict):
    """All limits of one account. A window is None when there is no budget for it."""

    limitId: str | None
    limitName: None
    primary: RateLimitWindow | None
    secondary: RateLimitWindow | None
    credits: None
    planType: None
    rateLimitReachedType: str | None
