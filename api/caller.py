"""Who sends a request, how they proved it, and from where."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.store.audit import Act
from shared.store.users import LOCAL_USER, User

LOCAL = User(LOCAL_USER, LOCAL_USER, "admin")


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of requests, as api.auth has found them out.

    auth_mode:  "none" (a server without users serves its own machine), "api_key" or "jwt"
    key_id:     of the API key
    door:       "websocket" or "http"
    address:    of the other end
    credential: the key or token, to look at it again while the connection lives; never told to anybody
    """

    user: User
    auth_mode: str = "none"
    key_id: str | None = None
    door: str = "http"
    address: str | None = None
    credential: str | None = field(default=None, repr=False)

    @property
    def user_id(self) -> str:
        return self.user.id

    def act(self, action: str) -> Act:
        """What the audit log says of something that they do."""
        return Act(self.user.id, action, self.door, self.address, self.key_id)
