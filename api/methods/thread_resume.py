"""thread/resume: Show a thread as it is, and follow what happens in it from then on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from api.requests import settings
from api.requests.context import Context
from api.requests.examples import ON_THREAD, SESSION, TURN_ID, Example
from api.requests.history import fitting_turns, newest_cursors, newest_turns, turns_page
from api.requests.instructions import find_instructions
from api.requests.project_config import project_hooks, trust_levels
from api.requests.results import SessionResult, TurnsPage
from api.requests.settings import SettingsParams
from api.requests.subscriptions import follow, replay
from shared import telemetry
from shared.errors import Conflict
from shared.protocol.settings import CollaborationMode, ThreadSettings
from shared.views.thread import session_result

NAME = "thread/resume"


@dataclass(frozen=True, kw_only=True)
class InitialTurnsPage:
    """A page of thread/turns/list that comes with the result. limit: 1 to 100; by default 25"""

    limit: int | None = None
    sort_direction: Literal["asc", "desc"] = "desc"
    items_view: Literal["notLoaded", "summary", "full"] = "summary"


@dataclass(frozen=True, kw_only=True)
class Params(SettingsParams):
    """Which thread, and what to change. While a turn is active, changes are ignored.

    exclude_turns: whether the result has no turns
    after_event_id: the `eventId` of the last event that the client has: events continue after it. Only events of
        threads that the connection follows carry one. When it is too old for the event log, the result has all turns,
        whatever `excludeTurns` says. Not part of the Codex protocol
    Errors: InvalidParams; NotFound; Conflict (archived)
    Source: PROTOCOL 5.7
    """

    thread_id: str
    exclude_turns: bool = False
    initial_turns_page: InitialTurnsPage | None = None
    after_event_id: str | None = None


@dataclass(frozen=True)
class Result(SessionResult):
    """The thread with all its turns, unless they were excluded. A running turn has its completed items.

    When the items have more than 16 MiB, only the newest turns have theirs. The others are "notLoaded" in their
    `itemsView`, and a `warning` follows.

    initial_turns_page: null unless it was asked for
    turns_backwards_cursor: for thread/turns/list, to read backwards from the newest turn
    items_backwards_cursor: for thread/items/list, to read backwards from the newest completed item
    """

    collaboration_mode: CollaborationMode | None
    initial_turns_page: TurnsPage | None
    turns_backwards_cursor: str | None
    items_backwards_cursor: str | None


EXAMPLE = Example(
    params={**ON_THREAD, "excludeTurns": True},
    result={
        **SESSION,
        "collaborationMode": None,
        "initialTurnsPage": None,
        "turnsBackwardsCursor": f"={TURN_ID}",
        "itemsBackwardsCursor": "=2",
    },
)


def handle(ctx: Context, params: Params) -> Result:
    thread_id = params.thread_id
    thread = ctx.get_thread(thread_id, missing="no rollout found for thread id {}")
    if thread.archived_at_ms is not None:
        raise Conflict(f"session {thread_id} is archived. Run `thread/unarchive` first.")
    asked = {} if thread.active_turn else settings.overrides(params)
    changed = settings.changes(ctx.config, ctx.user_id, asked, thread_id)
    works_in: ThreadSettings = {**thread.settings, **changed}
    found = find_instructions(ctx, works_in, has_folder=thread.materialized)
    changed |= found.changes
    if found.project is not None and (found.project.hooks or thread.settings.get("hooks")):
        levels = trust_levels(ctx.store.user_configs.get(ctx.user_id)[0].get("projects"), config={})
        changed["hooks"] = project_hooks(found.project, levels, works_in["cwd"]).hooks
    start = follow(ctx, thread_id, params.after_event_id)
    # Read the thread after the event log, so that the result contains every event before the followed ones.
    thread = ctx.store.threads.change_settings(thread_id, ctx.user_id, changed)
    whole = not params.exclude_turns or bool(start and start.expired)
    turns = ctx.store.turns.of_thread(thread_id, ctx.user_id, descending=not whole, limit=None if whole else 1)
    if whole:
        objects, items = newest_turns(ctx, thread_id, turns)
    else:
        objects, items = [], fitting_turns(ctx.store, ctx.user_id, turns, "full")[1]
    last = turns[-1] if turns else None
    replay(
        ctx,
        thread,
        start,
        last_turn=last,
        items=[item for item in items if last and item.turn_id == last.id],
        pending=ctx.store.approvals.pending(thread_id, ctx.user_id),
    )
    if not thread.active_turn:
        telemetry.conversation_started(thread.id, ctx.user_id, thread.originator, thread.settings, resumed=True)
    turns_cursor, items_cursor = newest_cursors(ctx.store, ctx.user_id, thread_id)
    return Result(
        **session_result(thread, objects),
        collaboration_mode=thread.settings.get("collaborationMode"),
        initial_turns_page=_first_page(ctx, thread_id, params.initial_turns_page),
        turns_backwards_cursor=turns_cursor,
        items_backwards_cursor=items_cursor,
    )


def _first_page(ctx: Context, thread_id: str, wanted: InitialTurnsPage | None) -> TurnsPage | None:
    if wanted is None:
        return None
    return turns_page(
        ctx.store,
        ctx.user_id,
        thread_id,
        cursor=None,
        limit=wanted.limit,
        direction=wanted.sort_direction,
        view=wanted.items_view,
    )
