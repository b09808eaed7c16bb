"""Token usage: what is spent and reserved, with no token missed or counted twice."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import pytest
from sqlalchemy import update

from shared.errors import ClaimLost
from shared.store import Store, usage
from shared.store.turns import Claim
from shared.store.usage import MAX_MODELS, OTHER_MODELS, UNKNOWN_MODEL, Budget, ModelUsage, Reservation, Spent
from shared.store.usage_tables import usage_days
from shared.store.writes import Published, Write
from tests.shared.store.records import at_once, claim, end, expire_lease, park, row, running, write

DAY = Budget(per_day=10_000)
NOON_MS = 1_795_262_400_000  # 2026-11-21 12:00 UTC


def reserve(store: Store, of: Claim, tokens: int = 3000, budget: Budget = DAY) -> Reservation:
    """Reserve for a call of half input, half answer."""
    return store.usage.reserve(of, budget, tokens // 2, tokens // 2)


def settle(store: Store, of: Claim, tokens: int) -> list[str]:
    return write(store, Write(of, append=[row(of, tokens)], spent=Spent("m", tokens), settles=True))


def test_tokens_are_reserved_until_the_answer_reports_its_usage(store: Store) -> None:
    one, other = running(store), running(store)

    assert reserve(store, one).answer_tokens == 1500
    assert reserve(store, other).standing.reserved == 3000
    settle(store, one, 1000)

    standing = store.usage.standing("ann")
    assert (standing.day, standing.month, standing.reserved) == (1000, 1000, 3000)
    assert store.usage.standing("bob").day == 0


def test_concurrent_reservations_never_exceed_the_budget(store: Store) -> None:
    claims = [running(store) for _ in range(8)]

    made = at_once(8, lambda number: reserve(store, claims[number]))

    assert sorted(one.answer_tokens for one in made) == [0] * 5 + [1500] * 3
    assert all(one.comes_back for one in made if not one.answer_tokens)
    assert store.usage.standing("ann").reserved == 9000


def test_the_last_reservation_is_granted_what_is_left(store: Store) -> None:
    of = running(store)
    settle(store, of, 7000)

    assert reserve(store, of, 4000).answer_tokens == 1000
    assert store.usage.standing("ann").reserved == 3000
    settle(store, of, 200)
    refused = reserve(store, of, 4000)
    assert (refused.answer_tokens, refused.comes_back, refused.standing.day) == (0, False, 7200)


def test_a_turn_has_at_most_one_reservation(store: Store) -> None:
    of = running(store)

    for _ in range(9):
        assert reserve(store, of).answer_tokens == 1500

    assert store.usage.standing("ann").reserved == 3000


def lose(store: Store, of: Claim) -> None:
    expire_lease(store, of)
    store.recovery.all_users_requeue_lost(max_lost_attempts=3)


@pytest.mark.parametrize(
    "leave",
    [lambda store, of: end(store, of), lambda store, of: park(store, of), lose,
     lambda store, of: store.claims.requeue([of])],
    ids=["end", "park", "lost", "requeued"],
)  # fmt: skip
def test_a_turn_that_leaves_its_worker_ends_its_reservation(
    store: Store, leave: Callable[[Store, Claim], object]
) -> None:
    of = running(store)
    reserve(store, of)

    leave(store, of)

    assert store.usage.standing("ann").reserved == 0


def test_a_claim_begins_without_the_previous_reservation(store: Store) -> None:
    first = running(store)
    reserve(store, first)
    lose(store, first)

    second = claim(store)

    assert second.turn_id == first.turn_id
    assert store.usage.standing("ann").reserved == 0
    reserve(store, second)
    with pytest.raises(ClaimLost):
        reserve(store, first)
    assert settle(store, first, 500) == ["lost"]
    assert (store.usage.standing("ann").day, store.usage.standing("ann").reserved) == (0, 3000)


def test_one_commit_adds_the_usage_of_many_users_and_turns(store: Store) -> None:
    claims = [running(store, owner) for owner in ("bob", "ann", "bob", "cy")]

    write(store, *(Write(of, spent=Spent("m", 10 + number)) for number, of in enumerate(claims)))

    assert [store.usage.standing(owner).day for owner in ("ann", "bob", "cy")] == [11, 22, 13]


def by_model(store: Store) -> list[ModelUsage]:
    return sorted(
        store.usage.all_users_by_model("2000-01-01", "2999-12-31"), key=lambda one: (one.owner, one.spent.model)
    )


def test_what_is_spent_is_counted_once_by_user_and_model(store: Store) -> None:
    first, other = running(store), running(store, "bob")
    write(
        store,
        Write(first, append=[row(first)], spent=Spent("large", 110, input=100, cached_input=40, output=10)),
        Write(other, append=[row(other)], spent=Spent("large", 7, input=5, output=2)),
    )
    again = Write(first, append=[row(first, 2)], spent=Spent("large", 3, input=2, output=1))
    store.commit([again], Published())
    store.commit([again], Published(), repeated=True)  # an outage hid the outcome
    lose(store, first)
    second = claim(store)
    assert settle(store, first, 500) == ["lost"]
    write(store, Write(second, append=[row(second, 3)], spent=Spent("small", 5, input=5)))

    today = usage.today_utc()
    assert by_model(store) == [
        ModelUsage(today, "ann", Spent("large", 113, input=102, cached_input=40, output=11)),
        ModelUsage(today, "ann", Spent("small", 5, input=5)),
        ModelUsage(today, "bob", Spent("large", 7, input=5, output=2)),
    ]
    assert store.usage.standing("ann").day == 118
    assert store.usage.all_users_tokens(today) == {"ann": 118, "bob": 7}
    assert [one.owner for one in store.usage.all_users_by_model(today, today, owner="bob")] == ["bob"]


def test_tokens_that_were_counted_without_a_model_have_an_unknown_one(store: Store) -> None:
    write(store, Write(running(store), spent=Spent("m", 10)))
    with store.database.write() as connection:  # as a process of 0.1.0 counts
        connection.execute(update(usage_days).values(tokens=usage_days.c.tokens + 5))

    assert [(one.spent.model, one.spent.tokens) for one in by_model(store)] == [(UNKNOWN_MODEL, 5), ("m", 10)]


def test_a_user_who_makes_up_names_of_models_does_not_fill_the_table(store: Store) -> None:
    of = running(store)
    for number in range(MAX_MODELS + 3):
        write(store, Write(of, spent=Spent(f"made up {number:03}", 1)))
    write(store, Write(of, spent=Spent("made up 000", 1)), Write(of, spent=Spent("\x1b[31m=1" + "x" * 1000, 1)))

    found = {one.spent.model: one.spent.tokens for one in by_model(store)}
    assert len(found) == MAX_MODELS + 1
    assert (found[OTHER_MODELS], found["made up 000"]) == (4, 2)
    assert usage.model_name("\x1b[31m=1" + "x" * 1000) == "??31m?1" + "x" * 93


def test_concurrent_commits_for_the_same_users_do_not_deadlock(store: Store) -> None:
    claims = [running(store, owner) for owner in ("ann", "bob", "cy")]

    def spend(number: int) -> None:
        for _ in range(10):
            write(store, *(Write(of, spent=Spent("m", 1)) for of in (claims if number % 2 else claims[::-1])))

    at_once(4, spend)

    assert [store.usage.standing(owner).day for owner in ("ann", "bob", "cy")] == [40, 40, 40]


def test_a_day_ends_at_midnight_and_a_month_with_its_last_day(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    of = running(store)
    budget = Budget(per_day=10_000, per_month=15_000)
    at = {"ms": NOON_MS}
    monkeypatch.setattr(usage, "now_ms", lambda: at["ms"])
    settle(store, of, 9000)
    first = store.usage.standing("ann")
    at["ms"] += 12 * 3600 * 1000

    tomorrow = store.usage.standing("ann")

    assert (tomorrow.day, tomorrow.month, tomorrow.room(budget)) == (0, 9000, 6000)
    assert (
        datetime.datetime.fromtimestamp(first.resets_at_s("day"), datetime.UTC).isoformat()[:16] == "2026-11-22T00:00"
    )
    assert datetime.datetime.fromtimestamp(first.resets_at_s("month"), datetime.UTC).isoformat()[:10] == "2026-12-01"
    settle(store, of, 500)
    at["ms"] += 14 * 24 * 3600 * 1000
    assert store.usage.standing("ann").month == 0
    assert store.usage.days("ann") == [("2026-11-21", 9000), ("2026-11-22", 500)]
    assert store.usage.totals("ann") == (9500, 9000)


def test_a_warning_is_given_once_per_period(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    of = running(store)
    at = {"ms": NOON_MS}
    monkeypatch.setattr(usage, "now_ms", lambda: at["ms"])
    settle(store, of, 100)

    given = at_once(4, lambda _: store.usage.mark_warned("ann", "month"))
    assert sorted(given) == [False, False, False, True]
    assert store.usage.mark_warned("ann", "day")
    assert store.usage.standing("ann").warned == {"day", "month"}
    at["ms"] += 24 * 3600 * 1000
    settle(store, of, 101)

    assert store.usage.standing("ann").warned == {"month"}
    assert not store.usage.mark_warned("ann", "month")
    assert store.usage.mark_warned("ann", "day")
