"""thread/fork: a new thread that begins with a copy of another one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from marshmallow import fields

from api import settings, sources
from api.context import Context
from api.history import turn_objects
from api.results import SessionResult
from api.settings import SettingsParams
from shared import telemetry
from shared.clock import now_ms
from shared.errors import InvalidParams
from shared.events import Event
from shared.protocol.thread import session_result, thread_object

NAME = "thread/fork"


class Params(SettingsParams):
    """Which thread, up to which turn, changed how. A turn that is still active is not copied.

    The copied turns and items have ids of their own, in the same order (the original keeps the old ones): ours are keys
    of the whole database. A source that works in its own workspace has it copied for the fork, as it is then. One that
    works in another folder shares that with its fork.

    Shape:  SettingsParams and {"threadId": UUIDv7, "lastTurnId"? or "beforeTurnId"?, "ephemeral": bool=false,
            "excludeTurns": bool=false, "threadSource": str?}
    Errors: InvalidParams; NotFound; InvalidRequest (no such turn)
    Source: PROTOCOL 5.10
    """

    thread_id = fields.Str(required=True)
    last_turn_id = fields.Str(load_default=None)
    before_turn_id = fields.Str(load_default=None)
    ephemeral = fields.Bool(load_default=False)
    exclude_turns = fields.Bool(load_default=False)
    thread_source = fields.Str(load_default=None)


Result = SessionResult


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    last, before = params["last_turn_id"], params["before_turn_id"]
    if last is not None and before is not None:
        raise InvalidParams("Invalid request: lastTurnId and beforeTurnId cannot be combined")
    changed = settings.changes(ctx.config, ctx.user_id, params)
    ctx.services.limits.check_threads(ctx.user_id)
    copy = ctx.store.histories.fork(params["thread_id"], ctx.user_id, last_turn_id=last, before_turn_id=before)
    at_ms = now_ms()
    own: dict[str, Any] = {}
    source = None
    if "cwd" not in changed:
        own, source = sources.of_fork(ctx, ctx.get_thread(params["thread_id"]), copy.thread)
    thread = replace(
        copy.thread,
        created_at_ms=at_ms,
        updated_at_ms=at_ms,
        recency_at_ms=at_ms,
        used_at_ms=at_ms,
        settings={**copy.thread.settings, **own, **changed},
        archived_at_ms=None,
        git_info=None if "cwd" in changed else copy.thread.git_info,
        ephemeral=params["ephemeral"],
        thread_source=params["thread_source"],
        originator=ctx.connection.client_name if ctx.connection else None,
    )
    ctx.store.histories.add(replace(copy, thread=thread), source, act=ctx.act(NAME))
    ctx.follow(thread.id)
    telemetry.conversation_started(thread.id, ctx.user_id, thread.originator, thread.settings)
    ctx.after_reply(ctx.publish, thread.id, Event("thread/started", {"thread": thread_object(thread)}))
    if source is not None:
        ctx.after_reply(ctx.services.queue.make_workspace, thread.id, ctx.user_id)
    turns = [] if params["exclude_turns"] else turn_objects(ctx.store, ctx.user_id, copy.turns, "full")[0]
    return session_result(thread, turns)
