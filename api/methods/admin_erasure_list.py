"""admin/erasure/list: List what was erased of all users. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import BEGIN_MS, END_MS, ERASURE_ID, THREAD_ID, USER_ID, Example
from api.requests.pages import AdminPageParams, cut_page

NAME = "admin/erasure/list"


@dataclass(frozen=True, kw_only=True)
class Params(AdminPageParams):
    """Which page to return.

    Errors: Forbidden; InvalidRequest (the cursor)
    """


class ErasureObject(TypedDict):
    """An erased thread or user. It has ids and counts only; times are Unix milliseconds.

    kind:      "thread" or "user"
    subjectId: of that thread or user
    userId:    whose data it was
    cause:     "thread/delete", "retention", "users delete" or "unused" (a thread without a message)
    doneAtMs:  null while something is left to erase
    receipt:   name of a store → how many of its entries were erased
    """

    id: str
    kind: str
    subjectId: str
    userId: str
    cause: str
    requestedAtMs: int
    doneAtMs: int | None
    receipt: Mapping[str, int]


@dataclass(frozen=True)
class Result:
    """data: newest first"""

    data: Sequence[ErasureObject]
    next_cursor: str | None


EXAMPLE = Example(
    result={
        "data": [
            {
                "id": ERASURE_ID,
                "kind": "thread",
                "subjectId": THREAD_ID,
                "userId": USER_ID,
                "cause": "thread/delete",
                "requestedAtMs": BEGIN_MS,
                "doneAtMs": END_MS,
                "receipt": {"items": 12, "workspaces": 1},
            }
        ],
        "nextCursor": None,
    }
)


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    after_id = params.after_id
    ctx.store.audit.append(ctx.audit_entry(NAME))
    found = ctx.store.erasures.all_users_page(after_id=after_id, limit=params.limit + 1)
    page, next_cursor = cut_page(found, params.limit, lambda erasure: erasure.id)
    data: list[ErasureObject] = [
        {
            "id": one.id,
            "kind": one.kind,
            "subjectId": one.subject_id,
            "userId": one.owner,
            "cause": one.cause,
            "requestedAtMs": one.requested_at_ms,
            "doneAtMs": one.done_at_ms,
            "receipt": one.receipt,
        }
        for one in page
    ]
    return Result(data=data, next_cursor=next_cursor)
