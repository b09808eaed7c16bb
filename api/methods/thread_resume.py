"""thread/resume: a thread as it stands, and from then on what happens in it."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api import settings
from api.context import Context
from api.history import newest, turn_objects, turns_page
from api.params import ParamsSchema, variant
from api.results import Page, SessionResult
from api.settings import SettingsParams
from shared import telemetry
from shared.errors import Conflict
from shared.protocol.thread import session_result

NAME = "thread/resume"


class TurnsPage(ParamsSchema):
    """Shape: {"limit": int?, "sortDirection": "asc" | "desc"?, "itemsView": "notLoaded" | "summary" | "full"?}"""

    limit = fields.Int(load_default=None)
    sort_direction = fields.Str(load_default="desc", validate=variant("asc", "desc"))
    items_view = fields.Str(load_default="summary", validate=variant("notLoaded", "summary", "full"))


class Params(SettingsParams):
    """Which thread, changed how. With `afterEventId`, our own addition, the events go on behind that one.

    When that one is too old for the log, the reply has all turns, whatever `excludeTurns` says.

    Shape:  SettingsParams and {"threadId": UUIDv7, "excludeTurns": bool=false, "initialTurnsPage": TurnsPage?,
            "afterEventId": eventId of the last event that the client has?}
    Errors: InvalidParams; NotFound; Conflict (archived)
    Source: PROTOCOL 5.7
    """

    thread_id = fields.Str(required=True)
    exclude_turns = fields.Bool(load_default=False)
    initial_turns_page = fields.Nested(TurnsPage, load_default=None)
    after_event_id = fields.Str(load_default=None)


class Result(SessionResult):
    """The session result with every turn, unless they were excluded; a running turn has its completed items."""

    collaboration_mode = fields.Raw()
    initial_turns_page = fields.Raw()
    turns_backwards_cursor = fields.Str()
    items_backwards_cursor = fields.Str()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread_id = params["thread_id"]
    thread = ctx.get_thread(thread_id, missing="no rollout found for thread id {}")
    if thread.archived_at_ms is not None:
        raise Conflict(f"session {thread_id} is archived. Run `thread/unarchive` first.")
    changed = {} if thread.active_turn else settings.changes(ctx.config, ctx.user_id, params)
    start = ctx.follow(thread_id, params["after_event_id"])
    thread = ctx.store.threads.change_settings(thread_id, ctx.user_id, changed)  # read after the look at the log
    whole = not params["exclude_turns"] or bool(start and start.expired)
    turns = ctx.store.turns.of_thread(thread_id, ctx.user_id, descending=not whole, limit=None if whole else 1)
    objects, items = turn_objects(ctx.store, ctx.user_id, turns, "full")
    last = turns[-1] if turns else None
    ctx.show(
        thread,
        start,
        last_turn=last,
        items=[item for item in items if last and item.turn_id == last.id],
        pending=ctx.store.approvals.pending(thread_id, ctx.user_id),
    )
    if not thread.active_turn:
        telemetry.conversation_started(thread.id, ctx.user_id, thread.originator, thread.settings, resumed=True)
    turns_cursor, items_cursor = newest(ctx.store, ctx.user_id, thread_id)
    return {
        **session_result(thread, objects if whole else []),
        "collaboration_mode": thread.settings.get("collaborationMode"),
        "initial_turns_page": _first_page(ctx, thread_id, params["initial_turns_page"]),
        "turns_backwards_cursor": turns_cursor,
        "items_backwards_cursor": items_cursor,
    }


def _first_page(ctx: Context, thread_id: str, wanted: dict[str, Any] | None) -> Any:
    if wanted is None:
        return None
    direction, view = wanted["sort_direction"], wanted["items_view"]
    page = turns_page(
        ctx.store, ctx.user_id, thread_id, cursor=None, limit=wanted["limit"], direction=direction, view=view
    )
    return Page().dump(page)
