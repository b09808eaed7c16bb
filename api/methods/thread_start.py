"""thread/start: a new thread, followed by whoever made it."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api import settings, sources
from api.context import Context
from api.params import variant
from api.results import SessionResult
from api.settings import SettingsParams
from shared import telemetry
from shared.clock import now_ms
from shared.errors import InvalidRequest
from shared.events import Event
from shared.ids import new_id
from shared.protocol.dynamic_tools import DynamicToolSchema, check_names
from shared.protocol.thread import SOURCE, session_result, thread_object
from shared.store.threads import TITLE_SOURCE, Thread

NAME = "thread/start"


class Params(SettingsParams):
    """How to work, and where; without `cwd` in a folder of the thread's own.

    `config.workspace` says what that folder begins with: a git repository or an uploaded archive (docs/WORKSPACES.md).
    A worker makes it before the thread's first turn.

    historyMode is how the client means to read the thread, and all that it changes is what the thread says of itself.

    Shape:  SettingsParams and {"ephemeral": bool=false, "historyMode": "legacy" | "paginated"?, "threadSource": str?,
            "dynamicTools": [tool]?}; beside the other keys of config: {"workspace": {"gitUrl", "ref"?, "credential"?}
            or {"archive": id}}
    Errors: InvalidParams; InvalidRequest (a title thread where the server serves none); NotFound (the archive);
            Overloaded (too many threads)
    Source: PROTOCOL 5.1
    """

    ephemeral = fields.Bool(load_default=False)
    history_mode = fields.Str(load_default=None, validate=variant("legacy", "paginated"))
    thread_source = fields.Str(load_default=None)
    dynamic_tools = fields.List(fields.Nested(DynamicToolSchema), load_default=[], validate=check_names)


Result = SessionResult


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    if params["thread_source"] == TITLE_SOURCE and not ctx.config.server.titles:
        raise InvalidRequest("this server makes no titles ([server] titles = false)")
    source = sources.take(ctx, params)
    thread_id, at_ms = new_id(), now_ms()
    chosen = settings.defaults(ctx.config, ctx.user_id, thread_id)
    chosen |= settings.user_defaults(ctx.config, ctx.user_id, ctx.store.user_configs.get(ctx.user_id)[0])
    chosen |= settings.changes(ctx.config, ctx.user_id, params)
    if source is not None:
        chosen[sources.KEY] = True  # turns look for it then
    thread = Thread(
        id=thread_id,
        owner=ctx.user_id,
        session_id=thread_id,
        settings=chosen | {"dynamicTools": params["dynamic_tools"]},
        source=SOURCE,
        created_at_ms=at_ms,
        updated_at_ms=at_ms,
        recency_at_ms=at_ms,
        used_at_ms=at_ms,
        thread_source=params["thread_source"],
        originator=ctx.connection.client_name if ctx.connection else None,
        ephemeral=params["ephemeral"],
        history_mode=params["history_mode"],
    )
    ctx.services.limits.check_threads(ctx.user_id)
    ctx.store.threads.create(thread, source, act=ctx.act(NAME))
    ctx.follow(thread_id)
    telemetry.conversation_started(thread.id, ctx.user_id, thread.originator, thread.settings)
    ctx.after_reply(ctx.publish, thread_id, Event("thread/started", {"thread": thread_object(thread)}))
    return session_result(thread)
