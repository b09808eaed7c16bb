"""Limits of single users: set, merged and removed, beside the defaults."""

from __future__ import annotations

from shared.config import Limits
from shared.store import Store
from shared.store.audit import AuditEntry


def test_limits_are_merged_and_removed(store: Store) -> None:
    assert store.limits.own("ann") == {}
    entry = AuditEntry.of_operator("test")
    assert store.limits.change("ann", {"turns_at_once": 3, "weight": 2}, audit_entry=entry) == {
        "turns_at_once": 3,
        "weight": 2,
    }
    store.limits.change("bob", {"weight": 5})

    assert store.limits.change("ann", {"turns_at_once": 0, "weight": None}) == {"turns_at_once": 0}

    assert store.limits.own("ann") == {"turns_at_once": 0}
    assert store.limits.all_users_own() == {"ann": {"turns_at_once": 0}, "bob": {"weight": 5}}
    assert store.limits.change("ann", {"turns_at_once": None}) == {}
    assert store.limits.all_users_own() == {"bob": {"weight": 5}}
    assert [one.subject_id for one in store.audit.all_users_page()] == ["ann"]


def test_a_users_limits_replace_the_defaults(store: Store) -> None:
    defaults = Limits(turns_at_once=9, tokens_per_day=7)
    store.limits.change("ann", {"turns_at_once": 3, "weight": 2})

    assert store.limits.of("ann", defaults) == Limits(turns_at_once=3, tokens_per_day=7)
    assert store.limits.of("bob", defaults) == defaults
