"""account/rateLimits/read and account/usage/read: budgets and what was used of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.config import Limits
from shared.store import usage
from shared.store.usage import Spent
from shared.store.writes import Published, Write
from tests.builders import Backend, claim_turn, end_turn, make_thread, make_turn

NOON_MS = 1_795_262_400_000  # 2026-11-21 12:00 UTC
MIDNIGHT_S, FIRST_S = 1_795_305_600, 1_796_083_200  # 2026-11-22 and 2026-12-01, 00:00 UTC


def spend(backend: Backend, tokens: int, owner: str = "local") -> None:
    make_turn(backend.store, make_thread(backend.store, backend.config, owner))
    claim = claim_turn(backend.store)
    backend.store.commit([Write(claim, spent=Spent("m", tokens))], Published())
    end_turn(backend.store, claim)


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "now_ms", lambda: NOON_MS)


@pytest.mark.usefixtures("noon")
def test_a_daily_and_a_monthly_budget_are_two_windows(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(limits=Limits(tokens_per_day=1000, tokens_per_month=20_000))
    spend(backend, 999)
    spend(backend, 500, "bob")

    result = backend.connect().call("account/rateLimits/read")

    limits = result["rateLimits"]
    assert limits["primary"] == {"usedPercent": 99, "windowDurationMins": 1440, "resetsAt": MIDNIGHT_S}
    assert limits["secondary"] == {"usedPercent": 4, "windowDurationMins": 30 * 1440, "resetsAt": FIRST_S}
    assert result["rateLimitsByLimitId"] == {"codex": limits}
    assert result["ordinaryUsageAllowed"]
    spend(backend, 1)
    result = backend.connect().call("account/rateLimits/read")
    assert result["ordinaryUsageAllowed"] is False
    assert result["rateLimits"]["rateLimitReachedType"] == "rate_limit_reached"


@pytest.mark.usefixtures("noon")
def test_a_single_budget_is_the_primary_window_and_can_be_set_per_user(backend: Backend) -> None:
    backend.store.limits.change("ann", {"tokens_per_month": 100})
    spend(backend, 250, "ann")

    limits = backend.connect("ann").call("account/rateLimits/read")["rateLimits"]

    assert limits["primary"] == {"usedPercent": 100, "windowDurationMins": 30 * 1440, "resetsAt": FIRST_S}
    assert limits["secondary"] is None


def test_without_a_budget_there_is_no_window(backend: Backend) -> None:
    result = backend.connect().reply("account/rateLimits/read")["result"]  # the terminal client sends no params

    assert (result["rateLimits"]["primary"], result["rateLimits"]["secondary"]) == (None, None)
    assert result["rateLimitsByLimitId"] is None


def test_usage_is_counted_by_day_and_outlives_its_threads(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    client = backend.connect()
    for day, tokens in ((0, 30), (0, 12), (2, 7)):
        monkeypatch.setattr(usage, "now_ms", lambda day=day: NOON_MS + day * 86_400_000)
        spend(backend, tokens)
    spend(backend, 1000, "bob")
    for thread in client.call("thread/list")["data"]:
        client.call("thread/delete", {"threadId": thread["id"]})

    result = client.call("account/usage/read")

    assert result["summary"] == {"lifetimeTokens": 49, "peakDailyTokens": 42, "longestRunningTurnSec": None}
    buckets = [{"startDate": "2026-11-21", "tokens": 42}, {"startDate": "2026-11-23", "tokens": 7}]
    assert result["dailyUsageBuckets"] == buckets
