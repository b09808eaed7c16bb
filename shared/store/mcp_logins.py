"""Logins of users at MCP servers (OAuth), one per user and address. What they contain is encrypted by the caller."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypedDict

from sqlalchemy import delete, insert, select, update

from shared.clock import now_ms
from shared.store import audit
from shared.store.audit import AuditEntry
from shared.store.conflicts import retry_conflicts
from shared.store.connection import Database
from shared.store.tables import mcp_logins

FIRST_LOGIN = {"mcp_logins_pkey": "mcp_logins.owner, mcp_logins.server_url"}


class StoredLogin(TypedDict):
    """What is encrypted. tokens, client: OAuthToken and OAuthClientInformationFull of the SDK, as JSON.

    owner, server_url: whose it is and where, because a text that was moved to another row is not used there
    expires_at_ms:     of the access token; None: it does not say
    token_endpoint:    where the tokens are renewed
    resource:          the OAuth resource that they are for
    """

    owner: str
    server_url: str
    tokens: dict[str, Any]
    client: dict[str, Any]
    expires_at_ms: int | None
    token_endpoint: str
    resource: str


class McpLogins:
    """The mcp_logins table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, owner: str, server_url: str) -> str | None:
        """Return the encrypted login of a user at a server; None: there is none."""
        query = select(mcp_logins.c.login).where(mcp_logins.c.owner == owner, mcp_logins.c.server_url == server_url)
        with self._database.read() as connection:
            return connection.scalar(query)

    def servers(self, owner: str, among: Collection[str]) -> set[str]:
        """Return those of several addresses at which a user is logged in."""
        query = select(mcp_logins.c.server_url).where(mcp_logins.c.owner == owner, mcp_logins.c.server_url.in_(among))
        with self._database.read() as connection:
            return set(connection.scalars(query))

    def put(self, owner: str, server_url: str, login: str, *, audit_entry: AuditEntry | None = None) -> None:
        """Store an encrypted login in place of the one before."""
        of_server = (mcp_logins.c.owner == owner, mcp_logins.c.server_url == server_url)
        values = {"login": login, "updated_at_ms": now_ms()}

        def write() -> None:
            with self._database.write() as connection:
                if not connection.execute(update(mcp_logins).where(*of_server).values(values)).rowcount:
                    connection.execute(insert(mcp_logins).values(owner=owner, server_url=server_url, **values))
                audit.write(connection, audit_entry)

        retry_conflicts(write, FIRST_LOGIN)

    def replace(self, owner: str, server_url: str, before: str, login: str) -> bool:
        """Store a login in place of a certain one. Return False when that one is no longer stored: nothing changed."""
        query = update(mcp_logins).where(
            mcp_logins.c.owner == owner, mcp_logins.c.server_url == server_url, mcp_logins.c.login == before
        )
        with self._database.write() as connection:
            return bool(connection.execute(query.values(login=login, updated_at_ms=now_ms())).rowcount)

    def remove(self, owner: str, server_url: str, *, audit_entry: AuditEntry | None = None) -> bool:
        """Forget a login. Return whether there was one."""
        query = delete(mcp_logins).where(mcp_logins.c.owner == owner, mcp_logins.c.server_url == server_url)
        with self._database.write() as connection:
            found = bool(connection.execute(query).rowcount)
            if found:
                audit.write(connection, audit_entry)
            return found
