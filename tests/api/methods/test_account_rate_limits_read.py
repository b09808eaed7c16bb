"""account/rateLimits/read and account/usage/read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.config import Limits
from shared.store import usage
from shared.store.writes import Announced, Write
from tests.builders import House, claim_turn, end_turn, make_thread, make_turn

NOON_MS = 1_795_262_400_000  # 2026-11-21 12:00 UTC
MIDNIGHT_S, FIRST_S = 1_795_305_600, 1_796_083_200  # 2026-11-22 and 2026-12-01, 00:00 UTC


def spend(house: House, tokens: int, owner: str = "local") -> None:
    make_turn(house.store, make_thread(house.store, house.config, owner))
    claim = claim_turn(house.store)
    house.store.commit([Write(claim, spent=tokens)], Announced())
    end_turn(house.store, claim)


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "now_ms", lambda: NOON_MS)


@pytest.mark.usefixtures("noon")
def test_budgets_of_day_and_month_are_two_windows(open_house: Callable[..., House]) -> None:
    house = open_house(limits=Limits(tokens_per_day=1000, tokens_per_month=20_000))
    spend(house, 999)
    spend(house, 500, "bob")

    told = house.connect().call("account/rateLimits/read")

    limits = told["rateLimits"]
    assert limits["primary"] == {"usedPercent": 99, "windowDurationMins": 1440, "resetsAt": MIDNIGHT_S}
    assert limits["secondary"] == {"usedPercent": 4, "windowDurationMins": 30 * 1440, "resetsAt": FIRST_S}
    assert told["rateLimitsByLimitId"] == {"codex": limits}
    assert told["ordinaryUsageAllowed"]
    spend(house, 1)
    told = house.connect().call("account/rateLimits/read")
    assert (told["ordinaryUsageAllowed"], told["rateLimits"]["rateLimitReachedType"]) == (False, "rate_limit_reached")


@pytest.mark.usefixtures("noon")
def test_one_budget_alone_is_the_first_window_and_may_be_ones_own(house: House) -> None:
    house.store.limits.change("ann", {"tokens_per_month": 100})
    spend(house, 250, "ann")

    limits = house.connect("ann").call("account/rateLimits/read")["rateLimits"]

    assert limits["primary"] == {"usedPercent": 100, "windowDurationMins": 30 * 1440, "resetsAt": FIRST_S}
    assert limits["secondary"] is None


def test_without_a_budget_there_is_no_window(house: House) -> None:
    told = house.connect().reply("account/rateLimits/read")["result"]  # the terminal client sends no params

    assert (told["rateLimits"]["primary"], told["rateLimits"]["secondary"]) == (None, None)
    assert told["rateLimitsByLimitId"] is None


def test_usage_is_told_by_day_and_outlives_its_threads(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    client = house.connect()
    for day, tokens in ((0, 30), (0, 12), (2, 7)):
        monkeypatch.setattr(usage, "now_ms", lambda day=day: NOON_MS + day * 86_400_000)
        spend(house, tokens)
    spend(house, 1000, "bob")
    for thread in client.call("thread/list")["data"]:
        client.call("thread/delete", {"threadId": thread["id"]})

    told = client.call("account/usage/read")

    assert told["summary"] == {"lifetimeTokens": 49, "peakDailyTokens": 42, "longestRunningTurnSec": None}
    buckets = [{"startDate": "2026-11-21", "tokens": 42}, {"startDate": "2026-11-23", "tokens": 7}]
    assert told["dailyUsageBuckets"] == buckets
