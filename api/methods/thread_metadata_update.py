"""thread/metadata/update: what a client knows of a thread's repository."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ThreadParams
from api.results import ThreadResult
from shared.errors import InvalidParams
from shared.protocol.thread import thread_object

NAME = "thread/metadata/update"
FACTS = ("sha", "branch", "originUrl")


class Params(ThreadParams):
    """A fact that is left out stays, null clears it. Projects are not kept here, nor what concerns cyber access.

    Shape:  {"threadId": UUIDv7, "gitInfo": {"sha": str|null?, "branch": str|null?, "originUrl": str|null?}?}
    Errors: NotFound; InvalidParams
    Source: PROTOCOL 5.11
    """

    git_info = fields.Dict(load_default=None)


Result = ThreadResult


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread = ctx.get_thread(params["thread_id"], missing="no rollout found for thread id {}")
    told = {name: value for name, value in (params["git_info"] or {}).items() if name in FACTS}
    if not all(value is None or (isinstance(value, str) and value) for value in told.values()):
        raise InvalidParams("Invalid request: gitInfo: expected strings that are not empty, or null")
    if told:
        info = {**dict.fromkeys(FACTS), **(thread.git_info or {}), **told}
        ctx.store.threads.set_git_info(thread.id, ctx.user_id, info if any(info.values()) else None)
    return {"thread": thread_object(ctx.get_thread(thread.id))}
