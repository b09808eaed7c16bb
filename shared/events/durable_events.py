"""Durable events: the events of a turn that can be built from the store again, so that each is published once.

One mechanism covers a crash between store and publish, a repeated write, and a lost log: each durable event has a key
(shared.event_names), the log accepts a key once, and rows keep their `published_state`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from shared.event_names import item_key, request_key, turn_key
from shared.events.fencing import FencingToken
from shared.events.log import Event, EventLog
from shared.protocol.auto_review import METHOD as REVIEW
from shared.protocol.notifications import AGENT_DELTA, OUTPUT_DELTA, REASONING_DELTA, SUMMARY_DELTA, SUMMARY_PART
from shared.store import Store
from shared.store.approvals import Approval
from shared.store.items import Item
from shared.store.turns import Turn
from shared.store.writes import Published
from shared.views.turn import turn_object

PUBLISHED_STARTED, PUBLISHED_ENDED = 1, 2  # of a row's published_state; 0: nothing was published
# Members of items that only deltas or the end of the item fill.
STARTED_MEMBERS: Mapping[str, Mapping[str, object]] = {
    "agentMessage": {"text": ""},
    "plan": {"text": ""},
    "reasoning": {"summary": [], "content": []},
}
ENDED_MEMBERS = ("aggregatedOutput", "exitCode", "durationMs", "success", "contentItems", "result", "error")


def turn_started(turn: Turn) -> list[Event]:
    """Return the thread's status "active", then turn/started (PROTOCOL section 7)."""
    started = replace(turn, status="inProgress", error=None, completed_at_ms=None)
    return [
        Event(
            "thread/status/changed",
            {"threadId": turn.thread_id, "status": {"type": "active", "activeFlags": []}},
            key=turn_key(turn.id, "active"),
        ),
        Event(
            "turn/started", {"threadId": turn.thread_id, "turn": turn_object(started)}, key=turn_key(turn.id, "started")
        ),
    ]


def turn_ended(turn: Turn, final: Item | None) -> list[Event]:
    """Return the thread's status, then turn/completed: the last event of a turn. final: the last agentMessage."""
    status = "systemError" if turn.status == "failed" else "idle"
    events = [
        Event(
            "thread/status/changed",
            {"threadId": turn.thread_id, "status": {"type": status}},
            key=turn_key(turn.id, "inactive"),
        )
    ]
    if turn.status == "failed":
        failure = {"threadId": turn.thread_id, "turnId": turn.id, "error": turn.error, "willRetry": False}
        events.append(Event("error", failure, key=turn_key(turn.id, "error")))
    shown = turn_object(turn)
    if turn.status == "completed" and final is not None:
        shown = turn_object(turn, [final], "summary")
    completed = {"threadId": turn.thread_id, "turn": shown}
    events.append(Event("turn/completed", completed, key=turn_key(turn.id, "completed"), role="keep"))
    return events


def item_started(item: Item) -> Event:
    """Return item/started. A row that has ended meanwhile is sent as it was when it started."""
    started = {**item.wire(), "completedAtMs": None, **STARTED_MEMBERS.get(item.kind, {})}
    if item.completed_at_ms is not None and "status" in started:
        started |= {"status": "inProgress", **{name: None for name in ENDED_MEMBERS if name in started}}
    params = {"threadId": item.thread_id, "turnId": item.turn_id, "item": started, "startedAtMs": item.started_at_ms}
    return Event("item/started", params, key=item_key(item.id, "started"), item_id=item.id, role="start")


def item_completed(item: Item) -> Event:
    """Return item/completed."""
    params = {
        "threadId": item.thread_id,
        "turnId": item.turn_id,
        "item": item.wire(),
        "completedAtMs": item.completed_at_ms,
        "contentTokenCount": None,
    }
    return Event("item/completed", params, key=item_key(item.id, "completed"), item_id=item.id, role="end")


def item_events(items: Iterable[Item], logged: Mapping[str, Mapping[str, str]] | None = None) -> list[Event]:
    """Return item/started of each item that clients see and item/completed of each that has ended.

    logged: item id → stream → text of the open items in the log. The part of a text that the log lacks is published as
            one more delta before item/completed, so that the deltas add up to the text also after a crash.
            None: the log lacks nothing
    """
    events = []
    for item in items:
        if item.item is not None and item.started_at_ms is not None:
            events.append(item_started(item))
            if item.completed_at_ms is not None:
                if logged is not None and item.published_state < PUBLISHED_ENDED:
                    events += missing_deltas(item, logged.get(item.id, {}))
                events.append(item_completed(item))
    return events


def missing_deltas(item: Item, logged: Mapping[str, str]) -> list[Event]:
    """Return deltas with the parts of a finished item's texts that the log lacks. logged: stream → text in the log.

    The log drops them when it has the item's end already.
    """
    events = []
    for method, index, text in _texts(item):
        stream = method if index is None else f"{method}#{index}"
        part = {} if index is None else {"contentIndex" if method == REASONING_DELTA else "summaryIndex": index}
        params = {"threadId": item.thread_id, "turnId": item.turn_id, "itemId": item.id, **part}
        if method == SUMMARY_DELTA and stream not in logged:
            events.append(Event(SUMMARY_PART, params, item_id=item.id, role="delta", stream=stream))
        so_far = logged.get(stream, "")
        rest = text.removeprefix(so_far)
        if rest and text.startswith(so_far):
            delta = {**params, "delta": rest}
            events.append(Event(method, delta, item_id=item.id, role="delta", stream=stream, text=rest))
    return events


def _texts(item: Item) -> list[tuple[str, int | None, str]]:
    """Return the texts of an item that deltas carry: (method, index of the part, text)."""
    shown = item.item or {}
    match item.kind:
        case "agentMessage":
            return [(AGENT_DELTA, None, shown["text"])]
        case "commandExecution":
            return [(OUTPUT_DELTA, None, shown["aggregatedOutput"] or "")]
        case "reasoning":
            parts = ((SUMMARY_DELTA, shown["summary"]), (REASONING_DELTA, shown["content"]))
            return [(method, index, text) for method, texts in parts for index, text in enumerate(texts)]
        case _:
            return []


def approval_requested(approval: Approval) -> list[Event]:
    """Return the thread's status with its waiting flags, then the server request (PROTOCOL section 8)."""
    from shared.store.threads import FLAGS, WAITING_ON_APPROVAL

    flags = FLAGS.get(approval.method, WAITING_ON_APPROVAL)
    status = {"type": "active", "activeFlags": list(flags)}
    return [
        Event(
            "thread/status/changed",
            {"threadId": approval.thread_id, "status": status},
            key=request_key(approval.id, "waiting"),
        ),
        Event(approval.method, approval.params, key=request_key(approval.id), request_id=approval.id),
    ]


def approval_resolved(approval: Approval) -> Event:
    """Return serverRequest/resolved."""
    params = {"threadId": approval.thread_id, "requestId": approval.id}
    return Event("serverRequest/resolved", params, key=request_key(approval.id, "resolved"))


def goes_on(thread_id: str, approvals: Sequence[Approval]) -> Event:
    """Return the thread's status without waiting flags. approvals: all of the turn, which are resolved"""
    status = {"type": "active", "activeFlags": []}
    key = request_key(approvals[-1].id, "active") if approvals else ""
    return Event("thread/status/changed", {"threadId": thread_id, "status": status}, key=key)


def of_turn(
    turn: Turn,
    items: Sequence[Item],
    approvals: Sequence[Approval],
    logged: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Event]:
    """Return all durable events of a turn so far, in an order that clients understand. logged: as for item_events."""
    events = turn_started(turn) + item_events(items, logged)
    asked = [approval for approval in approvals if approval.method != REVIEW]  # of a review, no client was asked
    for approval in asked:
        events += approval_requested(approval) if approval.state == "pending" else [approval_resolved(approval)]
    if turn.done:
        events += turn_ended(turn, final_message(items))
    elif asked and all(approval.state != "pending" for approval in asked):
        events.append(goes_on(turn.thread_id, asked))  # until a worker has it again, nobody else says so
    return events


def final_message(items: Sequence[Item]) -> Item | None:
    """Return the agent's last finished message."""
    messages = [item for item in items if item.kind == "agentMessage" and item.completed_at_ms is not None]
    return messages[-1] if messages else None


def publish_missing(store: Store, log: EventLog, turn: Turn) -> None:
    """Publish the durable events that the log lacks, of a turn that no worker holds. Harmless when repeated.

    Errors: redis.RedisError; the sweep repeats it later
    """
    items = store.items.of_turn(turn.id)
    approvals = store.approvals.of_turn(turn.id)
    logged = {one.item_id: one.texts for one in log.snapshot(turn.thread_id).open_items}
    events = of_turn(turn, items, approvals, logged)
    token = FencingToken.after_claim(turn.claim_no)
    if log.publish([log.batch(turn.thread_id, turn.owner, events, token=token)]) == ["refused"]:
        if not turn.done:
            return  # claimed again meanwhile: the worker that holds the turn publishes all of it
        # A later turn of the thread has begun: the thread's status and its open items are that turn's.
        events = [
            replace(event, role="end" if event.role == "end" else "")
            for event in events
            if event.method != "thread/status/changed" and event.role != "delta"
        ]
        log.publish([log.batch(turn.thread_id, turn.owner, events)])
    published_state = Published(
        items={item.id: target_state(item) for item in items if item.published_state < target_state(item)},
        turns={turn.id: PUBLISHED_ENDED if turn.done else PUBLISHED_STARTED},
        requests={approval.id: 1 if approval.state == "pending" else 2 for approval in approvals},
    )
    store.commit([], published_state)


def publish_end(store: Store, log: EventLog, item: Item, owner: str) -> None:
    """Publish the end of an item whose turn has ended before it. Harmless when repeated. Errors: redis.RedisError."""
    logged = {one.item_id: one.texts for one in log.snapshot(item.thread_id).open_items}
    events = [*missing_deltas(item, logged.get(item.id, {})), item_completed(item)]
    log.publish([log.batch(item.thread_id, owner, events)])
    store.commit([], Published(items={item.id: PUBLISHED_ENDED}))


def target_state(item: Item) -> int:
    """Return the published_state that an item's row has once all its events so far are published."""
    if item.item is None or item.started_at_ms is None:
        return 0
    return PUBLISHED_STARTED if item.completed_at_ms is None else PUBLISHED_ENDED
