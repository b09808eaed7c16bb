"""admin/key/list: List the API keys of a user, without their secrets. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import BEGIN_MS, END_MS, KEY_ID, USER_ID, Example
from api.requests.pages import AdminPageParams, cut_page

NAME = "admin/key/list"


@dataclass(frozen=True, kw_only=True)
class Params(AdminPageParams):
    """Whose keys to return.

    Errors: Forbidden; NotFound (the user); InvalidRequest (the cursor)
    """

    user_id: str


class KeyObject(TypedDict):
    """An API key without its secret. Times are Unix milliseconds.

    expiresAtMs:  null: it does not expire
    lastUsedAtMs: exact to a minute; null: it was not used yet
    """

    keyId: str
    label: str
    createdAtMs: int
    expiresAtMs: int | None
    revokedAtMs: int | None
    lastUsedAtMs: int | None


@dataclass(frozen=True)
class Result:
    """data: newest first"""

    data: Sequence[KeyObject]
    next_cursor: str | None


EXAMPLE = Example(
    params={"userId": USER_ID},
    result={
        "data": [
            {
                "keyId": KEY_ID,
                "label": "laptop",
                "createdAtMs": BEGIN_MS,
                "expiresAtMs": None,
                "revokedAtMs": None,
                "lastUsedAtMs": END_MS,
            }
        ],
        "nextCursor": None,
    },
)


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    after_id = params.after_id
    user = ctx.store.users.get_by_id(params.user_id).user
    ctx.store.audit.append(ctx.audit_entry(NAME), subject_id=user.id)
    found = ctx.store.users.keys_page(user.id, before_id=after_id, limit=params.limit + 1)
    page, next_cursor = cut_page(found, params.limit, lambda key: key.id)
    data: list[KeyObject] = [
        {
            "keyId": key.id,
            "label": key.name,
            "createdAtMs": key.created_at_ms,
            "expiresAtMs": key.expires_at_ms,
            "revokedAtMs": key.revoked_at_ms,
            "lastUsedAtMs": key.last_used_at_ms,
        }
        for key in page
    ]
    return Result(data=data, next_cursor=next_cursor)
