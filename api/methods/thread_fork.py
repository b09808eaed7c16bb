"""thread/fork: Create a thread that begins with a copy of another one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from api.requests import settings, workspace_sources
from api.requests.context import Context
from api.requests.examples import ON_THREAD, SESSION, THREAD, THREAD_ID, TURN_ID, Example
from api.requests.history import newest_turns
from api.requests.instructions import find_instructions
from api.requests.params import Label
from api.requests.results import SessionResult
from api.requests.settings import SettingsParams
from api.requests.subscriptions import follow, replay_usage
from shared import telemetry
from shared.clock import now_ms
from shared.errors import InvalidParams
from shared.events.log import Event
from shared.protocol.settings import SettingsChanges, ThreadSettings
from shared.views.thread import session_result, thread_object

NAME = "thread/fork"


@dataclass(frozen=True, kw_only=True)
class Params(SettingsParams):
    """Which thread to copy, up to which turn, and what to change. A turn that is active is copied as interrupted.

    The copied turns and items get new ids, in the same order. (The original keeps the old ids; here an id is a key of
    the whole database.) If the thread works in its own workspace, the workspace is copied as it is at that moment. If
    it works in another folder, the fork works in the same folder.

    last_turn_id: the last turn to copy, which must have ended; by default all
    before_turn_id: copy the turns before this one, instead of `lastTurnId`
    ephemeral:    whether the fork is left out of lists and removed when it is idle
    exclude_turns: whether the result has no turns; the token usage is not sent then
    thread_source: a label of the client, returned unread
    Errors: InvalidParams; NotFound; InvalidRequest (no such turn, the last one is active, or the turns have more than
            64 MiB); Overloaded (too many threads)
    Source: PROTOCOL 5.10
    """

    thread_id: str
    last_turn_id: str | None = None
    before_turn_id: str | None = None
    ephemeral: bool = False
    exclude_turns: bool = False
    thread_source: Label | None = None


Result = SessionResult
FORK_ID = "01a20435-1d2c-7a41-bb02-9f8e7d6c5b4a"  # of the example
EXAMPLE = Example(
    params={**ON_THREAD, "lastTurnId": TURN_ID},
    result={**SESSION, "thread": {**THREAD, "id": FORK_ID, "sessionId": FORK_ID, "forkedFromId": THREAD_ID}},
)


def handle(ctx: Context, params: Params) -> Result:
    last, before = params.last_turn_id, params.before_turn_id
    if last is not None and before is not None:
        raise InvalidParams("Invalid request: lastTurnId and beforeTurnId cannot be combined")
    ctx.services.limits.check_threads(ctx.user_id)
    copy = ctx.store.histories.fork(params.thread_id, ctx.user_id, last_turn_id=last, before_turn_id=before)
    changed = settings.changes(ctx.config, ctx.user_id, settings.overrides(params), copy.thread.id)
    at_ms = now_ms()
    own: SettingsChanges = {}
    source = None
    if "cwd" not in changed:
        own, source = workspace_sources.of_fork(ctx, ctx.get_thread(params.thread_id), copy.thread)
    chosen: ThreadSettings = {**copy.thread.settings, **own, **changed}
    found = find_instructions(ctx, chosen, has_folder=source is None)
    thread = replace(
        copy.thread,
        created_at_ms=at_ms,
        updated_at_ms=at_ms,
        recency_at_ms=at_ms,
        used_at_ms=at_ms,
        settings={**chosen, **found.changes},
        archived_at_ms=None,
        git_info=None if "cwd" in changed else copy.thread.git_info,
        ephemeral=params.ephemeral,
        thread_source=params.thread_source,
        originator=ctx.connection.client_name if ctx.connection else None,
    )
    start = follow(ctx, thread.id)  # first: without Redis there is no fork, and the client may send the request again
    ctx.store.histories.create(replace(copy, thread=thread), source, audit_entry=ctx.audit_entry(NAME))
    if source is not None:
        ctx.after_reply(ctx.services.queue.enqueue_workspace, thread.id, ctx.user_id)
    if start is not None and not params.exclude_turns:
        replay_usage(ctx, thread, copy.turns[-1] if copy.turns else None)
    telemetry.conversation_started(thread.id, ctx.user_id, thread.originator, thread.settings)
    ctx.after_reply(ctx.publish, thread.id, Event("thread/started", {"thread": thread_object(thread)}))
    found.warn(ctx, thread.id)
    turns = [] if params.exclude_turns else newest_turns(ctx, thread.id, copy.turns)[0]
    return Result(**session_result(thread, turns))
