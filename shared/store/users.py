"""Users and their API keys. A key is returned once, when it is created; only its SHA-256 is stored."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.exc import IntegrityError

from shared.clock import now_ms
from shared.errors import Conflict, InvalidParams, NotFound
from shared.ids import new_id
from shared.store import audit
from shared.store.audit import AuditEntry
from shared.store.connection import Database
from shared.store.digests import digest
from shared.store.tables import api_keys, users

KEY_BYTES = 32
KEY_PREFIX = "th_"
LOCAL_USER = "local"  # the only user of a server without keys
ROLES = ("member", "admin")
MAX_NAME_CHARACTERS = 200
MAX_LABEL_CHARACTERS = 100
RESERVED_NAMES = (LOCAL_USER, audit.OPERATOR)  # the audit log and the commands call somebody else by them
CHOSEN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")  # names of a token's issuer may have other characters
USE_RECORDED_MS = 60_000  # a key's last use is stored at most this often


@dataclass(frozen=True, slots=True)
class User:
    """A user. role: "member" or "admin"."""

    id: str
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class Account:
    """A user as operators see them. disabled_at_ms: since when they may not send requests."""

    user: User
    created_at_ms: int
    disabled_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Key:
    """An API key without its secret."""

    id: str
    user: User
    name: str
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None
    last_used_at_ms: int | None


def check_chosen_name(name: str) -> None:
    """Check the name that an operator or an admin gives to a user. Errors: InvalidParams."""
    if not CHOSEN_NAME.fullmatch(name):
        raise InvalidParams(
            "expected a name of 1 to 64 ASCII letters, digits and . _ - @ + that begins with a letter or digit"
        )


class Users:
    """The users and api_keys tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- users

    def exist(self) -> bool:
        """Return whether any user exists: from then on every request needs a credential."""
        with self._database.read() as connection:
            return connection.execute(select(users.c.id).limit(1)).first() is not None

    def add(self, name: str, role: str = "member", *, audit_entry: AuditEntry | None = None) -> User:
        """Create a user. Errors: Conflict (the name exists), InvalidParams (it is not a valid name)."""
        if not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable() or name != name.strip():
            raise InvalidParams(f"a user's name has 1 to {MAX_NAME_CHARACTERS} printable characters")
        if name.casefold() in RESERVED_NAMES:
            raise InvalidParams(f"the name {name!r} is taken by the server itself; choose another name")
        user = User(new_id(), name, role)
        try:
            with self._database.write() as connection:
                values = {"id": user.id, "name": name, "role": role, "created_at_ms": now_ms()}
                connection.execute(insert(users).values(values))
                audit.write(connection, audit_entry, subject_id=user.id)
        except IntegrityError:
            raise Conflict(f"user {name!r} exists already; choose another name") from None
        return user

    def accounts(self) -> list[Account]:
        """Return all users, oldest first."""
        with self._database.read() as connection:
            return [_account(row) for row in connection.execute(select(users).order_by(users.c.id))]

    def get(self, name: str) -> User:
        """Return the user of that name. Errors: NotFound."""
        account = self.find(name)
        if account is None:
            raise NotFound(f"no user {name!r}; create it with: threadhouse users add {name}")
        return account.user

    def find(self, name: str) -> Account | None:
        """Return the user of that name, disabled or not; None: there is none."""
        with self._database.read() as connection:
            row = connection.execute(select(users).where(users.c.name == name)).first()
        return None if row is None else _account(row)

    def get_by_id(self, user_id: str) -> Account:
        """Return the user with that id, disabled or not. Errors: NotFound."""
        with self._database.read() as connection:
            row = connection.execute(select(users).where(users.c.id == user_id)).first()
        if row is None:
            raise NotFound(f"user not found: {user_id[:80]}")
        return _account(row)

    def set_disabled(self, user_id: str, disabled: bool, *, audit_entry: AuditEntry | None = None) -> Account:
        """Disable or enable a user; harmless when repeated. Errors: NotFound."""
        with self._database.write() as connection:
            row = connection.execute(select(users).where(users.c.id == user_id).with_for_update()).first()
            if row is None:
                raise NotFound(f"user not found: {user_id[:80]}")
            if (row.disabled_at_ms is not None) != disabled:
                values = {"disabled_at_ms": now_ms() if disabled else None}
                connection.execute(update(users).where(users.c.id == user_id).values(values))
                audit.write(connection, audit_entry, subject_id=user_id)
            return _account(connection.execute(select(users).where(users.c.id == user_id)).one())

    def enabled(self, user_ids: Collection[str]) -> set[str]:
        """Return those of the users who may send requests."""
        query = select(users.c.id).where(users.c.id.in_(user_ids), users.c.disabled_at_ms.is_(None))
        with self._database.read() as connection:
            return set(connection.scalars(query))

    # -- keys

    def create_key(
        self, user_name: str, key_name: str, expires_at_ms: int | None = None, *, audit_entry: AuditEntry | None = None
    ) -> str:
        """Create a key for a user and return it; it cannot be read again.

        Errors: NotFound (the user); InvalidParams (the key's name)
        """
        if not 0 < len(key_name) <= MAX_LABEL_CHARACTERS or not key_name.isprintable():
            raise InvalidParams(f"a key's label has 1 to {MAX_LABEL_CHARACTERS} printable characters")
        key, key_id = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES), new_id()
        with self._database.write() as connection:
            user_id = connection.scalar(select(users.c.id).where(users.c.name == user_name))
            if user_id is None:
                raise NotFound(f"no user {user_name!r}; create it with: threadhouse users add {user_name}")
            values = {
                "id": key_id,
                "user_id": user_id,
                "name": key_name,
                "sha256": digest(key),
                "created_at_ms": now_ms(),
                "expires_at_ms": expires_at_ms,
            }
            connection.execute(insert(api_keys).values(values))
            audit.write(connection, audit_entry, subject_id=key_id)
        return key

    def revoke_key(self, key_id: str, *, audit_entry: AuditEntry | None = None) -> None:
        """Revoke a key; harmless when repeated. Errors: NotFound."""
        with self._database.write() as connection:
            row = connection.execute(select(api_keys.c.revoked_at_ms).where(api_keys.c.id == key_id)).first()
            if row is None:
                raise NotFound(f"no key {key_id}; list the keys with: threadhouse keys list")
            if row.revoked_at_ms is None:
                connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_at_ms=now_ms()))
                audit.write(connection, audit_entry, subject_id=key_id)

    def keys(self, user_name: str | None = None) -> list[Key]:
        """Return the keys of a user, or of all users, oldest first."""
        query = _KEYS if user_name is None else _KEYS.where(users.c.name == user_name)
        with self._database.read() as connection:
            return [_key(row) for row in connection.execute(query.order_by(api_keys.c.id))]

    def keys_page(self, user_id: str, *, before_id: str | None, limit: int) -> list[Key]:
        """Return a page of the keys of a user, newest first. before_id: the last key of the page before."""
        query = _KEYS.where(users.c.id == user_id)
        if before_id is not None:
            query = query.where(api_keys.c.id < before_id)
        with self._database.read() as connection:
            return [_key(row) for row in connection.execute(query.order_by(api_keys.c.id.desc()).limit(limit))]

    def find_by_key(self, key: str) -> Key | None:
        """Return the key with its user; None: it is unknown, expired or revoked, or its user is disabled."""
        with self._database.read() as connection:
            row = connection.execute(_KEYS.where(api_keys.c.sha256 == digest(key), _valid())).first()
        return None if row is None else _key(row)

    def has_disabled_owner(self, key: str) -> bool:
        """Return whether the key is one of a disabled user."""
        query = select(users.c.id).join(api_keys, api_keys.c.user_id == users.c.id)
        query = query.where(api_keys.c.sha256 == digest(key), users.c.disabled_at_ms.is_not(None))
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def valid_keys(self, key_ids: Collection[str]) -> set[str]:
        """Return those of the keys that are still valid."""
        query = select(api_keys.c.id).join(users, api_keys.c.user_id == users.c.id)
        with self._database.read() as connection:
            return set(connection.scalars(query.where(api_keys.c.id.in_(key_ids), _valid())))

    def record_uses(self, key_ids: Collection[str]) -> None:
        """Record that the keys are used now; a use recorded within USE_RECORDED_MS is not replaced."""
        used_ms = now_ms()
        last = api_keys.c.last_used_at_ms
        before = or_(last.is_(None), last <= used_ms - USE_RECORDED_MS)
        with self._database.write() as connection:
            connection.execute(
                update(api_keys).where(api_keys.c.id.in_(key_ids), before).values(last_used_at_ms=used_ms)
            )


_KEYS = select(
    *(
        api_keys.c[name]
        for name in ("id", "name", "created_at_ms", "expires_at_ms", "revoked_at_ms", "last_used_at_ms")
    ),
    users.c.id.label("user_id"),
    users.c.name.label("user_name"),
    users.c.role,
).join(users, api_keys.c.user_id == users.c.id)


def _valid() -> Any:
    in_time = or_(api_keys.c.expires_at_ms.is_(None), api_keys.c.expires_at_ms > now_ms())
    return and_(api_keys.c.revoked_at_ms.is_(None), users.c.disabled_at_ms.is_(None), in_time)


def _account(row: Row[Any]) -> Account:
    return Account(User(row.id, row.name, row.role), row.created_at_ms, row.disabled_at_ms)


def _key(row: Any) -> Key:
    user = User(row.user_id, row.user_name, row.role)
    times = (row.created_at_ms, row.expires_at_ms, row.revoked_at_ms, row.last_used_at_ms)
    return Key(row.id, user, row.name, *times)
