"""Sessions of the web console: who is signed in with a browser. Only the SHA-256 of a session's secret is stored.

A session stands for the credential with which its user signed in, and ends with it: that of an API key when the key is
revoked or expires, that of a token when the token expires, each of them when its user is disabled. That of a user who
signed in at a provider (OIDC) ends after a time, and when the provider says so.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, delete, insert, or_, select

from shared.clock import now_ms
from shared.ids import new_id
from shared.store import audit
from shared.store.audit import AuditEntry
from shared.store.connection import Database
from shared.store.digests import digest
from shared.store.tables import api_keys, sessions, users
from shared.store.users import User

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

SECRET_BYTES = 32
MOST_DAYS = 14  # after which a user signs in again
MOST_OF_A_USER = 100  # a further one ends the user's oldest
DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is valid.

    user:          with the role that they have in this session
    key_id:        of the API key that it stands for; None: it stands for a token, or a sign-in at the provider
    from_provider: whether it stands for a sign-in at the provider
    """

    id: str
    user: User
    key_id: str | None
    expires_at_ms: int
    from_provider: bool


@dataclass(frozen=True, slots=True)
class ProviderSignIn:
    """What the provider (OIDC) said when a user signed in there.

    subject:  `sub`, whom it knows; session: `sid`, its own session
    is_admin: whether the user is an admin in this session, whatever their row says
    id_token: to sign out there
    """

    subject: str
    session: str | None
    is_admin: bool
    id_token: str


class Sessions:
    """The sessions table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        owner: str,
        key_id: str | None,
        expires_at_ms: int | None,
        *,
        provider: ProviderSignIn | None = None,
        replaces: str | None = None,
        audit_entry: AuditEntry | None = None,
    ) -> tuple[str, int]:
        """Begin a session, and forget sessions that are over. Returns its secret, and when it ends.

        expires_at_ms: when the credential does; None: never
        provider:      of a user who signed in there
        replaces:      secret of the session that the browser had before, whosever it is; it ends
        """
        secret, session_id, at_ms = secrets.token_urlsafe(SECRET_BYTES), new_id(), now_ms()
        longest_ms = at_ms + MOST_DAYS * DAY_MS
        ends_at_ms = longest_ms if expires_at_ms is None else min(expires_at_ms, longest_ms)
        values = {
            "id": session_id,
            "user_id": owner,
            "key_id": key_id,
            "sha256": digest(secret),
            "created_at_ms": at_ms,
            "expires_at_ms": ends_at_ms,
        }
        if provider is not None:
            values |= {
                "subject": provider.subject,
                "provider_session": provider.session,
                "is_admin": provider.is_admin,
                "id_token": _cipher(secret).encrypt(provider.id_token.encode()).decode(),
            }
        newest = select(sessions.c.id).where(sessions.c.user_id == owner).order_by(sessions.c.id.desc())
        with self._database.write() as connection:
            kept = connection.scalars(newest.limit(MOST_OF_A_USER - 1)).all()
            surplus = and_(sessions.c.user_id == owner, sessions.c.id.not_in(kept))
            connection.execute(delete(sessions).where(or_(sessions.c.expires_at_ms <= at_ms, surplus)))
            if replaces is not None:
                connection.execute(delete(sessions).where(sessions.c.sha256 == digest(replaces)))
            connection.execute(insert(sessions).values(values))
            audit.write(connection, audit_entry, subject_id=session_id)
        return secret, ends_at_ms

    def find(self, secret: str) -> Session | None:
        """Return the session with that secret; None: it is unknown, or it is over."""
        query = _VALID.where(sessions.c.sha256 == digest(secret), _is_valid())
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        user = User(row.user_id, row.name, "admin" if row.is_admin else row.role)
        return Session(row.id, user, row.key_id, row.expires_at_ms, row.subject is not None)

    def find_id_token(self, secret: str) -> str | None:
        """Return the ID token with which the session with that secret began; None: it began otherwise, or is over."""
        query = select(sessions.c.id_token).where(sessions.c.sha256 == digest(secret))
        with self._database.read() as connection:
            encrypted = connection.scalar(query)
        return None if encrypted is None else _cipher(secret).decrypt(encrypted).decode()

    def valid(self, session_ids: Collection[str]) -> set[str]:
        """Return those of the sessions that are not over."""
        with self._database.read() as connection:
            found = connection.execute(_VALID.where(sessions.c.id.in_(session_ids), _is_valid()))
            return {row.id for row in found}

    def end(self, session_id: str, owner: str, *, audit_entry: AuditEntry | None = None) -> None:
        """End a session of a user; harmless when repeated."""
        with self._database.write() as connection:
            ended = delete(sessions).where(sessions.c.id == session_id, sessions.c.user_id == owner)
            if connection.execute(ended).rowcount:
                audit.write(connection, audit_entry, subject_id=session_id)

    def all_users_end_of_provider(self, subject: str | None, session: str | None) -> None:
        """End what the provider names: its session, or all sessions of a subject. One of the two is not None."""
        named: list[ColumnElement[bool]] = [sessions.c.subject.is_not(None)]
        if subject is not None:
            named.append(sessions.c.subject == subject)
        if session is not None:
            named.append(sessions.c.provider_session == session)
        with self._database.write() as connection:
            for row in connection.execute(select(sessions.c.id, sessions.c.user_id).where(*named)).all():
                connection.execute(delete(sessions).where(sessions.c.id == row.id))
                audit.write(connection, AuditEntry(row.user_id, "console/signOutByProvider", "http"), subject_id=row.id)


_VALID = (
    select(
        sessions.c.id,
        sessions.c.key_id,
        sessions.c.subject,
        sessions.c.is_admin,
        sessions.c.expires_at_ms,
        users.c.id.label("user_id"),
        users.c.name,
        users.c.role,
    )
    .join(users, users.c.id == sessions.c.user_id)
    .outerjoin(api_keys, api_keys.c.id == sessions.c.key_id)
)


def _is_valid() -> Any:
    at_ms = now_ms()
    key_in_time = or_(api_keys.c.expires_at_ms.is_(None), api_keys.c.expires_at_ms > at_ms)
    key_is_valid = and_(api_keys.c.id.is_not(None), api_keys.c.revoked_at_ms.is_(None), key_in_time)
    return and_(
        sessions.c.expires_at_ms > at_ms,
        users.c.disabled_at_ms.is_(None),
        or_(sessions.c.key_id.is_(None), key_is_valid),
    )


def _cipher(secret: str) -> Fernet:
    """Return what encrypts for the session with that secret: the database alone cannot decrypt it."""
    from cryptography.fernet import Fernet  # imports slowly, and most sessions need none

    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(f"id token {secret}".encode()).digest()))
