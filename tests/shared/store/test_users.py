"""Users and their keys: found while they are valid, disabled and revoked once."""

from __future__ import annotations

import pytest

from shared.errors import Conflict, InvalidParams, NotFound
from shared.store import Store, users
from shared.store.audit import AuditEntry
from shared.store.users import MAX_NAME_CHARACTERS, USE_RECORDED_MS

OPERATOR = AuditEntry.of_operator("test")


def audited(store: Store) -> int:
    return len(store.audit.all_users_page())


@pytest.mark.parametrize("name", ["", " ann", "ann ", "a\nb", "x" * (MAX_NAME_CHARACTERS + 1)])
def test_a_name_that_is_not_printable_or_too_long_is_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidParams, match="printable characters"):
        store.users.add(name)
    assert not store.users.exist()


@pytest.mark.parametrize("name", ["local", "operator", "Operator"])
def test_a_name_by_which_the_server_calls_itself_is_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidParams, match="choose another name"):
        store.users.add(name)
    assert not store.users.exist()


def test_a_name_is_given_once(store: Store) -> None:
    user = store.users.add("x" * MAX_NAME_CHARACTERS, "admin")

    with pytest.raises(Conflict, match="exists already"):
        store.users.add(user.name)

    assert store.users.exist()
    assert store.users.get(user.name) == user
    assert [one.user for one in store.users.accounts()] == [user]
    assert store.users.find("ann") is None
    with pytest.raises(NotFound, match="threadhouse users add ann"):
        store.users.get("ann")


def test_a_user_is_disabled_and_enabled_and_only_changes_are_audited(store: Store) -> None:
    ann, bob = store.users.add("ann"), store.users.add("bob")
    key = store.users.create_key("ann", "laptop")

    for _ in range(2):
        assert store.users.set_disabled(ann.id, True, audit_entry=OPERATOR).disabled_at_ms is not None
    assert audited(store) == 1
    assert store.users.enabled([ann.id, bob.id]) == {bob.id}
    assert store.users.find_by_key(key) is None
    for _ in range(2):
        assert store.users.set_disabled(ann.id, False, audit_entry=OPERATOR).disabled_at_ms is None

    assert audited(store) == 2
    assert store.users.enabled([ann.id]) == {ann.id}
    assert store.users.find_by_key(key) is not None
    with pytest.raises(NotFound, match="user not found"):
        store.users.set_disabled("unknown", True)


def test_a_key_is_valid_until_it_expires_or_is_revoked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    at = {"ms": 1_000}
    monkeypatch.setattr(users, "now_ms", lambda: at["ms"])
    store.users.add("ann")
    store.users.add("bob")
    lasting, ending = store.users.create_key("ann", "lasting"), store.users.create_key("ann", "ending", 2_000)
    other = store.users.create_key("bob", "other")
    with pytest.raises(NotFound, match="no user 'eve'"):
        store.users.create_key("eve", "laptop")

    first, second = store.users.keys("ann")
    assert (first.name, second.name, second.expires_at_ms) == ("lasting", "ending", 2_000)
    everybodys = store.users.keys()
    assert [key.user.name for key in everybodys] == ["ann", "ann", "bob"]
    at["ms"] = 1_999
    assert store.users.valid_keys([first.id, second.id]) == {first.id, second.id}
    assert store.users.find_by_key(ending) == second
    at["ms"] = 2_000
    assert store.users.valid_keys([first.id, second.id]) == {first.id}
    assert store.users.find_by_key(ending) is None
    for _ in range(2):
        store.users.revoke_key(first.id, audit_entry=OPERATOR)

    assert audited(store) == 1
    assert store.users.find_by_key(lasting) is None
    found = store.users.find_by_key(other)
    assert found is not None
    assert found.user.name == "bob"
    assert store.users.keys("ann")[0].revoked_at_ms == 2_000
    with pytest.raises(NotFound, match="no key unknown"):
        store.users.revoke_key("unknown")


def test_the_use_of_a_key_is_recorded_once_in_a_while(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    at = {"ms": 1_000_000}
    monkeypatch.setattr(users, "now_ms", lambda: at["ms"])
    store.users.add("ann")
    for name in ("used", "unused"):
        store.users.create_key("ann", name)
    used, _ = store.users.keys()

    def record() -> int | None:
        store.users.record_uses([used.id])
        return store.users.keys()[0].last_used_at_ms

    assert record() == 1_000_000
    at["ms"] += USE_RECORDED_MS - 1
    assert record() == 1_000_000
    at["ms"] += 1
    assert record() == 1_000_000 + USE_RECORDED_MS
    assert store.users.keys()[1].last_used_at_ms is None
