"""Users take turns, whatever each of them adds."""

from __future__ import annotations

from workers.control.fair_queue import FairQueue


def test_users_take_turns_and_have_one_thing_under_way_each() -> None:
    queue = FairQueue(at_once=9)
    for subject_id in ("a1", "a2", "a3"):
        queue.put("ann", subject_id)
    queue.put("bob", "b1")

    assert [queue.take() for _ in range(3)] == [("ann", "a1"), ("bob", "b1"), None]

    queue.put("bob", "b2")
    for owner in ("ann", "bob"):
        queue.done(owner)
    assert [queue.take(), queue.take()] == [("ann", "a2"), ("bob", "b2")]


def test_only_so_much_of_all_users_is_under_way() -> None:
    queue = FairQueue(at_once=2)
    for owner in ("ann", "bob", "eve"):
        queue.put(owner, "1")

    assert [queue.take() for _ in range(3)] == [("ann", "1"), ("bob", "1"), None]

    queue.done("bob")
    assert queue.take() == ("eve", "1")


def test_what_is_cleared_is_not_given_out() -> None:
    queue = FairQueue(at_once=2)
    for owner, subject_id in (("ann", "a1"), ("bob", "b1"), ("ann", "a2")):
        queue.put(owner, subject_id)

    assert queue.clear() == [("ann", "a1"), ("ann", "a2"), ("bob", "b1")]
    assert queue.take() is None
