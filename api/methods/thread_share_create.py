"""thread/share/create: Make a link by which anybody reads a thread. Not part of the Codex protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypedDict

from marshmallow import validate

from api.requests.context import Context
from api.requests.examples import BEGIN_MS, ON_THREAD, SHARE_ID, THREAD_ID, Example
from api.requests.params import ThreadParams
from shared.errors import InvalidParams, InvalidRequest
from shared.store.thread_shares import ThreadShare

NAME = "thread/share/create"
DAY_SECONDS = 24 * 3600
DEFAULT_DAYS = 7


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread, and how long the link opens it.

    expires_in_seconds: by default 7 days; at most 90 days, or what `[server] share_days` allows
    Errors: NotFound; InvalidParams (longer than the server allows); InvalidRequest (the server allows no links, or has
            no users); Conflict (the caller has 100 links)
    """

    expires_in_seconds: Annotated[int | None, validate.Range(60, 90 * DAY_SECONDS)] = None


class ShareObject(TypedDict):
    """A link that can be opened. createdAt, expiresAt: Unix seconds"""

    id: str
    threadId: str
    createdAt: int
    expiresAt: int


@dataclass(frozen=True)
class Result:
    """The link. Only this answer has its secret.

    secret: opens `GET /v2/thread/shared` and `GET /v2/thread/shared/events` as `Authorization: Share SECRET`
    path:   of the page that shows the thread, below this server's address
    """

    share: ShareObject
    secret: str
    path: str


EXAMPLE = Example(
    params={**ON_THREAD, "expiresInSeconds": 86_400},
    result={
        "share": {
            "id": SHARE_ID,
            "threadId": THREAD_ID,
            "createdAt": BEGIN_MS // 1000,
            "expiresAt": BEGIN_MS // 1000 + 86_400,
        },
        "secret": "7Qb…",
        "path": "/#/shared/7Qb…",
    },
)


def share_object(share: ThreadShare) -> ShareObject:
    return {
        "id": share.id,
        "threadId": share.thread_id,
        "createdAt": share.created_at_ms // 1000,
        "expiresAt": share.expires_at_ms // 1000,
    }


def handle(ctx: Context, params: Params) -> Result:
    most_days = ctx.config.server.share_days
    if not most_days:
        raise InvalidRequest("this server allows no links to threads ([server] share_days is 0)")
    if ctx.caller.auth_mode == "none":
        raise InvalidRequest(
            "this server has no users and serves only its own machine, so a link would open nothing elsewhere; create "
            "a user first: `threadhouse users add NAME`"
        )
    seconds = params.expires_in_seconds or min(DEFAULT_DAYS, most_days) * DAY_SECONDS
    if seconds > most_days * DAY_SECONDS:
        raise InvalidParams(f"expiresInSeconds: at most {most_days * DAY_SECONDS} ([server] share_days)")
    entry = ctx.audit_entry(NAME)
    share, secret = ctx.store.thread_shares.create(params.thread_id, ctx.user_id, seconds, audit_entry=entry)
    return Result(share=share_object(share), secret=secret, path=f"/#/shared/{secret}")
