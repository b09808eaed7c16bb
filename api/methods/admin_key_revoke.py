"""admin/key/revoke: Revoke an API key of any user. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import KEY_ID, Example
from api.requests.params import MethodParams

NAME = "admin/key/revoke"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The key. Open connections and sessions that began with it end within a minute; harmless when repeated.

    Errors: Forbidden; NotFound
    """

    key_id: str


@dataclass(frozen=True)
class Result:
    """Empty."""


EXAMPLE = Example(params={"keyId": KEY_ID})


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    ctx.store.users.revoke_key(params.key_id, audit_entry=ctx.audit_entry(NAME))
    return Result()
