"""Users and their API keys. A key is shown once and stored as its SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from shared.clock import now_ms
from shared.errors import Conflict, NotFound
from shared.ids import new_id
from shared.store.connection import Database
from shared.store.tables import api_keys, users

KEY_BYTES = 32
LOCAL_USER = "local"  # the one user of a server without keys
ROLES = ("member", "admin")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may send requests. role: "member" or "admin"."""

    id: str
    name: str
    role: str


class Users:
    """The users and api_keys tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def exist(self) -> bool:
        """Whether any user exists: from then on every request needs a credential."""
        with self._database.read() as connection:
            return connection.execute(select(users.c.id).limit(1)).first() is not None

    def add(self, name: str, role: str = "member") -> User:
        """Errors: Conflict (the name is taken)."""
        user = User(new_id(), name, role)
        with self._database.write() as connection:
            if connection.execute(select(users.c.id).where(users.c.name == name)).first() is not None:
                raise Conflict(f"there is a user {name!r} already")
            values = {"id": user.id, "name": name, "role": role, "created_at_ms": now_ms()}
            connection.execute(insert(users).values(values))
        return user

    def by_name(self, name: str) -> User:
        """Errors: NotFound."""
        query = select(users.c.id, users.c.name, users.c.role).where(users.c.name == name)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFound(f"no user {name!r}; make one with: threadhouse users add {name}")
        return User(row.id, row.name, row.role)

    def create_key(self, user_name: str, key_name: str, expires_at_ms: int | None = None) -> str:
        """A new key of a user; the only time that it is seen. Errors: NotFound (the user)."""
        key = "th_" + secrets.token_urlsafe(KEY_BYTES)
        with self._database.write() as connection:
            user_id = connection.scalar(select(users.c.id).where(users.c.name == user_name))
            if user_id is None:
                raise NotFound(f"no user {user_name!r}; make one with: threadhouse users add {user_name}")
            values = {
                "id": new_id(),
                "user_id": user_id,
                "name": key_name,
                "sha256": _digest(key),
                "created_at_ms": now_ms(),
                "expires_at_ms": expires_at_ms,
            }
            connection.execute(insert(api_keys).values(values))
        return key

    def revoke_key(self, key_id: str) -> None:
        """Errors: NotFound."""
        with self._database.write() as connection:
            revoked = update(api_keys).where(api_keys.c.id == key_id).values(revoked_at_ms=now_ms())
            if connection.execute(revoked).rowcount == 0:
                raise NotFound(f"no key {key_id}")

    def by_key(self, key: str) -> User | None:
        """Whom a key belongs to; None for a wrong, expired or revoked one, or a disabled user."""
        query = (
            select(users.c.id, users.c.name, users.c.role, api_keys.c.expires_at_ms)
            .join(api_keys, api_keys.c.user_id == users.c.id)
            .where(
                api_keys.c.sha256 == _digest(key), api_keys.c.revoked_at_ms.is_(None), users.c.disabled_at_ms.is_(None)
            )
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None or (row.expires_at_ms is not None and row.expires_at_ms <= now_ms()):
            return None
        return User(row.id, row.name, row.role)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
