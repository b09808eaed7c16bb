"""Each user may hold as much as is still free."""

from __future__ import annotations

from shared.fair_share import FairShare


def take_all(share: FairShare, owner: str) -> int:
    """Take one by one as long as it works; return how many."""
    count = 0
    while share.take(owner, 1):
        count += 1
    return count


def test_users_who_take_all_they_can_leave_some_for_the_next() -> None:
    share = FairShare(120)

    assert [take_all(share, owner) for owner in ("ann", "bob", "cy")] == [60, 30, 15]


def test_what_was_given_back_can_be_taken_again() -> None:
    share = FairShare(10)
    assert take_all(share, "ann") == 5
    assert not share.take("ann", 1)

    share.give_back("ann", 2)

    assert share.take("ann", 2)
    assert not share.take("bob", 4)
    assert share.take("bob", 2)
