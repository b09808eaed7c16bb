"""admin/key/create: Create an API key for a user; it is shown once. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import USER_ID, Example
from api.requests.params import MethodParams
from shared.clock import now_ms
from shared.errors import InvalidParams

NAME = "admin/key/create"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """Whose key to create.

    label:         its name in lists
    expires_at_ms: Unix milliseconds; it does not expire unless given
    Errors:        Forbidden; NotFound (the user); InvalidParams (the label, or a time that is over)
    """

    user_id: str
    label: str = "default"
    expires_at_ms: int | None = None


@dataclass(frozen=True)
class Result:
    """key: the secret, which cannot be read again: only its SHA-256 is stored"""

    key: str


EXAMPLE = Example(
    params={"userId": USER_ID, "label": "laptop"}, result={"key": "th_dGhpcyBpcyBubyBrZXksIGJ1dCBpdHMgc2hhcGUgaXM"}
)


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    if params.expires_at_ms is not None and params.expires_at_ms <= now_ms():
        raise InvalidParams("expiresAtMs: expected a time in the future, in Unix milliseconds")
    user = ctx.store.users.get_by_id(params.user_id).user
    key = ctx.store.users.create_key(user.name, params.label, params.expires_at_ms, audit_entry=ctx.audit_entry(NAME))
    return Result(key=key)
