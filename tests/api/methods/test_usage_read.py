"""usage/read: what the caller spent, by day and model, in tokens and money."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.config.prices import ModelPrice, Prices
from shared.store import usage
from shared.store.usage import Spent
from tests.builders import Backend

SATURDAY_MS = 1_795_262_400_000  # 2026-11-21 12:00 UTC
DAY_MS = 86_400_000
PRICES = Prices("EUR", (ModelPrice("priced", 1000.0, 2000.0),))


def spend(backend: Backend, owner: str, *spent: Spent) -> None:
    with backend.store.database.write() as connection:
        usage.add(connection, [(owner, one) for one in spent])


@pytest.fixture
def backend(open_backend: Callable[..., Backend], monkeypatch: pytest.MonkeyPatch) -> Backend:
    """On Saturday ann spent on two models, of which one has a price, and bob on one; on Sunday ann did so again."""
    backend = open_backend(prices=PRICES)
    monkeypatch.setattr(usage, "now_ms", lambda: SATURDAY_MS)
    spend(backend, "ann", Spent("priced", 1100, input=1000, output=100), Spent("free", 500, input=400, output=100))
    spend(backend, "bob", Spent("priced", 7000, input=7000))
    monkeypatch.setattr(usage, "now_ms", lambda: SATURDAY_MS + DAY_MS)
    spend(backend, "ann", Spent("priced", 2000, input=2000))
    return backend


def test_a_user_reads_what_they_spent_by_day_and_model_and_nothing_of_others(backend: Backend) -> None:
    read = backend.connect("ann").call("usage/read", {"userId": "bob"})  # an unknown member changes nothing

    shown = [(one["day"], one["model"], one["tokens"], one["cost"], one["unpricedTokens"]) for one in read["data"]]
    assert shown == [
        ("2026-11-21", "free", 500, None, 500),
        ("2026-11-21", "priced", 1100, 1.2, 0),
        ("2026-11-22", "priced", 2000, 2.0, 0),
    ]
    assert {one["userId"] for one in read["data"]} == {None}
    assert (read["fromDay"], read["toDay"], read["currency"]) == ("2026-10-24", "2026-11-22", "EUR")
    assert backend.store.audit.all_users_page() == []


def test_usage_is_grouped_and_bounded_as_asked(backend: Backend) -> None:
    client = backend.connect("ann")

    (total,) = client.call("usage/read", {"groupBy": []})["data"]
    (saturday,) = client.call("usage/read", {"toDay": "2026-11-21", "groupBy": ["day"]})["data"]

    assert (total["tokens"], total["cost"], total["unpricedTokens"]) == (3600, 3.2, 500)
    assert (saturday["day"], saturday["model"], saturday["tokens"], saturday["cost"]) == ("2026-11-21", None, 1600, 1.2)
    assert backend.connect("eve").call("usage/read", {})["data"] == []


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"fromDay": "soon"}, "from, to: expected days"),
        ({"fromDay": "2020-01-01"}, "at most 366 days"),
        ({"groupBy": ["user"]}, "unknown variant `user`"),
    ],
)
def test_bad_input_is_refused(backend: Backend, params: dict[str, object], message: str) -> None:
    assert message in backend.connect("ann").error("usage/read", params)["message"]
