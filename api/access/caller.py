"""Who sends a request, how they proved it, and from where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from shared.store.audit import AuditEntry
from shared.store.users import LOCAL_USER, User

AuthMode = Literal["none", "api_key", "jwt", "share"]
Transport = Literal["websocket", "http"]

LOCAL = User(LOCAL_USER, LOCAL_USER, "admin")


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request, as api.access.auth has authenticated them.

    auth_mode:  "none" (a server without users, reached from its own machine), "api_key", "jwt" or
                "share"
    key_id:     id of the API key
    transport:  "websocket" or "http"
    address:    IP address of the client
    credential: the token, to check it again while the connection is open; never shown or logged
    session_id: of the web console's session that stands for the credential
    share_id:   of the link with which somebody reads one thread of `user`; such a caller may call no method
    """

    user: User
    auth_mode: AuthMode = "none"
    key_id: str | None = None
    transport: Transport = "http"
    address: str | None = None
    credential: str | None = field(default=None, repr=False)
    session_id: str | None = None
    share_id: str | None = None

    @property
    def user_id(self) -> str:
        return self.user.id

    def audit_entry(self, action: str) -> AuditEntry:
        """Return what the audit log records of an action of this caller."""
        return AuditEntry(self.user.id, action, self.transport, self.address, self.key_id)
