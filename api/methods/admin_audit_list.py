"""admin/audit/list: List the audit log, newest first. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypedDict

from marshmallow import validate

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import BEGIN_MS, KEY_ID, THREAD_ID, TURN_ID, USER_ID, Example
from api.requests.pages import AdminPageParams, cut_page, invalid_cursor

NAME = "admin/audit/list"
SLOW = True  # a filter that few entries pass reads many


@dataclass(frozen=True, kw_only=True)
class Params(AdminPageParams):
    """Which entries to return.

    user_id:   who acted; "operator": commands on a host
    thread_id: what it was about
    action:    a method such as turn/start, or a command such as keys revoke
    Errors:    Forbidden; InvalidRequest (the cursor)
    """

    user_id: Annotated[str | None, validate.Length(max=200)] = None
    thread_id: Annotated[str | None, validate.Length(max=200)] = None
    action: Annotated[str | None, validate.Length(max=200)] = None

    @property
    def before_id(self) -> int | None:
        """The number at the end of the page before. Errors: InvalidRequest (the cursor)."""
        if self.cursor is None:
            return None
        if not (self.cursor.isascii() and self.cursor.isdigit() and int(self.cursor) < 1 << 63):
            raise invalid_cursor(self.cursor)
        return int(self.cursor)


class AuditObject(TypedDict):
    """One entry. It has ids and no content; atMs: Unix milliseconds

    userId:    who acted; "operator": a command on a host, or the server itself
    action:    the method, or the command
    subjectId: of what it was about: a turn, a user, a key …
    detail:    a word more, such as the decision of an approval
    transport: "websocket", "http" or "host"
    address:   where the request came from
    keyId:     of the API key of the request
    """

    atMs: int
    userId: str
    action: str
    threadId: str | None
    subjectId: str | None
    detail: str | None
    transport: str | None
    address: str | None
    keyId: str | None


@dataclass(frozen=True)
class Result:
    """data: newest first"""

    data: Sequence[AuditObject]
    next_cursor: str | None


EXAMPLE = Example(
    params={"action": "turn/start", "limit": 1},
    result={
        "data": [
            {
                "atMs": BEGIN_MS,
                "userId": USER_ID,
                "action": "turn/start",
                "threadId": THREAD_ID,
                "subjectId": TURN_ID,
                "detail": None,
                "transport": "http",
                "address": "192.0.2.7",
                "keyId": KEY_ID,
            }
        ],
        "nextCursor": "4711",
    },
)


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    before_id = params.before_id
    found = ctx.store.audit.all_users_newest(
        before_id=before_id,
        owner=params.user_id,
        thread_id=params.thread_id,
        action=params.action,
        limit=params.limit + 1,
    )
    ctx.store.audit.append(ctx.audit_entry(NAME), thread_id=params.thread_id, subject_id=params.user_id)
    page, next_cursor = cut_page(found, params.limit, lambda row: str(row.id))
    data: list[AuditObject] = [
        {
            "atMs": row.at_ms,
            "userId": row.owner,
            "action": row.action,
            "threadId": row.thread_id,
            "subjectId": row.subject_id,
            "detail": row.detail,
            "transport": row.transport,
            "address": row.address,
            "keyId": row.key_id,
        }
        for row in page
    ]
    return Result(data=data, next_cursor=next_cursor)
