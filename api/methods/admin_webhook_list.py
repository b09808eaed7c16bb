"""admin/webhook/list: List deliveries to webhooks. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import BEGIN_MS, DELIVERY_ID, END_MS, THREAD_ID, TURN_ID, USER_ID, Example
from api.requests.pages import AdminPageParams, cut_page

NAME = "admin/webhook/list"

State = Literal["pending", "delivered", "dead"]


@dataclass(frozen=True, kw_only=True)
class Params(AdminPageParams):
    """Which deliveries to return.

    state:  dead: given up after all attempts
    Errors: Forbidden; InvalidRequest (the cursor)
    """

    state: State | None = None


class DeliveryObject(TypedDict):
    """A message for one webhook. Times are Unix milliseconds.

    deliveryId: its `webhook-id`, the same in every attempt
    url:        of the webhook
    threadId, turnId, userId: what the message is about; null: it names none
    attempts:   how many have begun
    dueAtMs:    when it is tried next; of a pending one
    error:      of the last attempt
    """

    deliveryId: str
    url: str
    event: str
    threadId: str | None
    turnId: str | None
    userId: str | None
    state: str
    attempts: int
    createdAtMs: int
    changedAtMs: int
    dueAtMs: int | None
    error: str | None


@dataclass(frozen=True)
class Result:
    """data: newest first. webhooks: URLs of config.toml, to which deliveries can be sent"""

    data: Sequence[DeliveryObject]
    next_cursor: str | None
    webhooks: Sequence[str]


_URL = "https://hooks.example/threadhouse"
EXAMPLE = Example(
    params={"state": "dead"},
    result={
        "data": [
            {
                "deliveryId": DELIVERY_ID,
                "url": _URL,
                "event": "turn.failed",
                "threadId": THREAD_ID,
                "turnId": TURN_ID,
                "userId": USER_ID,
                "state": "dead",
                "attempts": 11,
                "createdAtMs": BEGIN_MS,
                "changedAtMs": END_MS,
                "dueAtMs": None,
                "error": "HTTP 500",
            }
        ],
        "nextCursor": None,
        "webhooks": [_URL],
    },
)


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    after_id = params.after_id
    ctx.store.audit.append(ctx.audit_entry(NAME))
    states = [params.state] if params.state else get_args(State)
    found = ctx.store.outbox.list_webhooks(states, params.limit + 1, after_id)
    page, next_cursor = cut_page(found, params.limit, lambda delivery: delivery.id)
    data: list[DeliveryObject] = [
        {
            "deliveryId": one.id,
            "url": one.target,
            "event": one.event,
            "threadId": one.data.get("threadId"),
            "turnId": one.data.get("turnId"),
            "userId": one.data.get("userId"),
            "state": one.state,
            "attempts": one.attempts,
            "createdAtMs": one.created_at_ms,
            "changedAtMs": one.changed_at_ms,
            "dueAtMs": one.due_at_ms if one.state == "pending" else None,
            "error": one.error,
        }
        for one in page
    ]
    return Result(data=data, next_cursor=next_cursor, webhooks=[one.url for one in ctx.config.webhooks])
