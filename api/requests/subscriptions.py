"""Follow a thread, and replay what a client that follows it anew has to know.

Owns which frames follow the reply of a request that subscribes, and which events that reply makes superfluous.
"""

from __future__ import annotations

from collections.abc import Iterable

from api.delivery.following import FollowStart
from api.delivery.frames import Frame, notification
from api.requests.context import Context
from shared.event_names import item_key, request_key
from shared.events import durable_events
from shared.events.log import Event
from shared.store.approvals import Approval
from shared.store.items import Item
from shared.store.threads import Thread
from shared.store.turns import Turn


def follow(ctx: Context, thread_id: str, cursor: str | None = None) -> FollowStart | None:
    """Subscribe the caller's connection to a thread, from now or from a cursor on. None: there is no connection.

    Errors: InvalidParams (the cursor), Unavailable, redis.RedisError
    """
    if ctx.connection is None:
        return None
    ctx.pause(thread_id)
    is_new = thread_id not in ctx.connection.followed()
    start = ctx.services.relay.follow(ctx.connection, thread_id, cursor)
    ctx.followed = thread_id
    ctx.has_begun_to_follow = is_new
    return start


def replay(
    ctx: Context,
    thread: Thread,
    start: FollowStart | None,
    *,
    last_turn: Turn | None = None,
    items: Iterable[Item] = (),
    pending: Iterable[Approval] = (),
) -> None:
    """Add to ctx.frames: the open items, the pending approval requests, the last known token usage.

    last_turn: the thread's last turn, as the reply contains it
    items:     the completed items of last_turn that the reply contains
    pending:   the thread's approvals that wait for a decision; they are sent again under their old ids
    """
    if start is None or ctx.connection is None:
        return
    pending = _not_in_log(ctx, thread.id, pending)
    replied = {item.id for item in items} if start.fresh else set()
    ctx.frames += start.frames(replied)
    ctx.frames += [Frame.of_event(durable_events.approval_requested(approval)[-1]) for approval in pending]
    replay_usage(ctx, thread, last_turn)
    keys = [event.key for approval in pending for event in durable_events.approval_requested(approval)]
    keys += [item_key(item.item_id, "started") for item in start.open_items]
    if start.fresh and last_turn is not None:
        keys += _published_keys(last_turn)
    active = last_turn.id if last_turn and not last_turn.done else None
    ctx.connection.mark_delivered(thread.id, keys=keys, items=replied, open_turn=active)


def replay_usage(ctx: Context, thread: Thread, last_turn: Turn | None) -> None:
    """Add to ctx.frames the token usage of a thread, if it has one. It is said of the last turn that changed it.

    Of a thread that was imported, or is older than the record of usage by turn, that is the last one; "" is no turn.
    """
    if thread.token_usage:
        turn_id = ctx.store.histories.find_turn_with_usage(thread.id, ctx.user_id) or (
            last_turn.id if last_turn else ""
        )
        usage = {"threadId": thread.id, "turnId": turn_id, "tokenUsage": thread.token_usage}
        ctx.frames.append(notification("thread/tokenUsage/updated", usage))


def _not_in_log(ctx: Context, thread_id: str, pending: Iterable[Approval]) -> list[Approval]:
    """Leave out the approvals whose requests the connection will read from the log, after the items they are about."""
    pending = list(pending)
    if not pending or ctx.connection is None:
        return pending
    keys = ctx.services.events.keys_after(thread_id, ctx.connection.position(thread_id))
    return [one for one in pending if keys.isdisjoint((request_key(one.id), item_key(one.item_id or "", "started")))]


def _published_keys(turn: Turn) -> list[str]:
    """Return the keys of the turn's published events that a reply with this turn makes superfluous."""
    events: list[Event] = []
    if turn.published_state >= durable_events.PUBLISHED_STARTED:
        events += durable_events.turn_started(turn)
    if turn.published_state >= durable_events.PUBLISHED_ENDED:
        events += durable_events.turn_ended(turn, None)
    return [event.key for event in events]
