"""The durable events of a turn, built from what the store has: for whoever must publish what nobody has published yet.

One mechanism covers a crash between store and publish, a write that is repeated, and a log that was lost: each durable
event has a key, the log takes a key once, and rows remember how much of them was published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from shared.events import Event, EventLog
from shared.protocol.notifications import AGENT_DELTA, OUTPUT_DELTA, REASONING_DELTA, SUMMARY_DELTA, SUMMARY_PART
from shared.protocol.turn import turn_object
from shared.store import Store
from shared.store.approvals import Approval
from shared.store.items import Item
from shared.store.turns import Turn
from shared.store.writes import Announced

ANNOUNCED_STARTED, ANNOUNCED_ENDED = 1, 2
NOBODY_HOLDS = 0.5  # added to a claim's number: newer than all that its holder may still say, older than the next claim


def turn_started(turn: Turn) -> list[Event]:
    """status active, turn/started (PROTOCOL section 7)."""
    begun = replace(turn, status="inProgress", error=None, completed_at_ms=None)
    return [
        Event(
            "thread/status/changed",
            {"threadId": turn.thread_id, "status": {"type": "active", "activeFlags": []}},
            key=f"turn:{turn.id}:active",
        ),
        Event("turn/started", {"threadId": turn.thread_id, "turn": turn_object(begun)}, key=f"turn:{turn.id}:started"),
    ]


def turn_ended(turn: Turn, final: Item | None) -> list[Event]:
    """The thread's status, then turn/completed: the last event of a turn. final: the last agentMessage."""
    status = "systemError" if turn.status == "failed" else "idle"
    events = [
        Event(
            "thread/status/changed",
            {"threadId": turn.thread_id, "status": {"type": status}},
            key=f"turn:{turn.id}:inactive",
        )
    ]
    if turn.status == "failed":
        failure = {"threadId": turn.thread_id, "turnId": turn.id, "error": turn.error, "willRetry": False}
        events.append(Event("error", failure, key=f"turn:{turn.id}:error"))
    shown = turn_object(turn)
    if turn.status == "completed" and final is not None:
        shown = turn_object(turn, [final], "summary")
    completed = {"threadId": turn.thread_id, "turn": shown}
    events.append(Event("turn/completed", completed, key=f"turn:{turn.id}:completed", role="keep"))
    return events


def item_started(item: Item) -> Event:
    """item/started; a row that has ended meanwhile is shown as it began."""
    begun = {**item.wire(), "completedAtMs": None, **BEGUN_MEMBERS.get(item.kind, {})}
    if item.completed_at_ms is not None and "status" in begun:
        begun |= {"status": "inProgress", **{name: None for name in ENDED_MEMBERS if name in begun}}
    params = {"threadId": item.thread_id, "turnId": item.turn_id, "item": begun, "startedAtMs": item.started_at_ms}
    return Event("item/started", params, key=f"item:{item.id}:started", item_id=item.id, role="start")


BEGUN_MEMBERS: dict[str, dict[str, Any]] = {
    "agentMessage": {"text": ""},
    "plan": {"text": ""},
    "reasoning": {"summary": [], "content": []},
}
ENDED_MEMBERS = ("aggregatedOutput", "exitCode", "durationMs", "success", "contentItems")


def item_completed(item: Item) -> Event:
    """item/completed."""
    params = {
        "threadId": item.thread_id,
        "turnId": item.turn_id,
        "item": item.wire(),
        "completedAtMs": item.completed_at_ms,
        "contentTokenCount": None,
    }
    return Event("item/completed", params, key=f"item:{item.id}:completed", item_id=item.id, role="end")


def item_events(items: Iterable[Item], told: Mapping[str, Mapping[str, str]] | None = None) -> list[Event]:
    """What clients are told of items as they are stored: begun, ended.

    told: item id → stream → text that the log has of open items: what is missing of a text that nobody was told the
          end of comes as one more delta, so that the deltas are the text also after a crash; None: nothing is missing
    """
    events = []
    for item in items:
        if item.item is not None and item.started_at_ms is not None:
            events.append(item_started(item))
            if item.completed_at_ms is not None:
                if told is not None and item.announced < ANNOUNCED_ENDED:
                    events += missing_deltas(item, told.get(item.id, {}))
                events.append(item_completed(item))
    return events


def missing_deltas(item: Item, told: Mapping[str, str]) -> list[Event]:
    """What is missing of a finished item's texts. The log drops it when it has the end of the item."""
    events = []
    for method, index, text in _texts(item):
        stream = method if index is None else f"{method}#{index}"
        params: dict[str, Any] = {"threadId": item.thread_id, "turnId": item.turn_id, "itemId": item.id}
        if index is not None:
            params["contentIndex" if method == REASONING_DELTA else "summaryIndex"] = index
        if method == SUMMARY_DELTA and stream not in told:
            events.append(Event(SUMMARY_PART, params, item_id=item.id, role="delta", stream=stream))
        so_far = told.get(stream, "")
        rest = text.removeprefix(so_far)
        if rest and text.startswith(so_far):
            delta = {**params, "delta": rest}
            events.append(Event(method, delta, item_id=item.id, role="delta", stream=stream, text=rest))
    return events


def _texts(item: Item) -> list[tuple[str, int | None, str]]:
    """The texts of an item that deltas tell of: (method, index of the part, text)."""
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


def question_asked(approval: Approval) -> list[Event]:
    """The thread waits; the server request with its stable id (PROTOCOL section 8)."""
    from shared.store.threads import FLAGS, WAITING_ON_APPROVAL

    flags = FLAGS.get(approval.method, WAITING_ON_APPROVAL)
    status: dict[str, Any] = {"type": "active", "activeFlags": list(flags)}
    return [
        Event(
            "thread/status/changed",
            {"threadId": approval.thread_id, "status": status},
            key=f"request:{approval.id}:waiting",
        ),
        Event(approval.method, approval.params, key=f"request:{approval.id}", request_id=approval.id),
    ]


def question_resolved(approval: Approval) -> Event:
    """serverRequest/resolved."""
    params = {"threadId": approval.thread_id, "requestId": approval.id}
    return Event("serverRequest/resolved", params, key=f"request:{approval.id}:resolved")


def durable_events(
    turn: Turn,
    items: Sequence[Item],
    approvals: Sequence[Approval],
    told: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Event]:
    """All durable events of a turn so far, in an order that clients understand. told: as of item_events."""
    events = turn_started(turn) + item_events(items, told)
    for approval in approvals:
        events += question_asked(approval) if approval.state == "pending" else [question_resolved(approval)]
    if turn.done:
        events += turn_ended(turn, final_message(items))
    return events


def final_message(items: Sequence[Item]) -> Item | None:
    """The last message of the agent."""
    messages = [item for item in items if item.kind == "agentMessage" and item.completed_at_ms is not None]
    return messages[-1] if messages else None


def announce(store: Store, log: EventLog, turn: Turn) -> None:
    """Publish what the store knows of a turn that nobody holds and the log does not have. Harmless when repeated.

    Errors: redis.RedisError; the sweep does it again later
    """
    items = store.items.of_turn(turn.id)
    approvals = store.approvals.of_turn(turn.id)
    told = {one.item_id: one.texts for one in log.snapshot(turn.thread_id).open_items}
    events = durable_events(turn, items, approvals, told)
    claim_no = turn.claim_no + NOBODY_HOLDS
    if log.publish([log.batch(turn.thread_id, turn.owner, events, claim_no=claim_no)]) == ["refused"]:
        if not turn.done:
            return  # claimed again meanwhile: its holder tells all
        # The thread went on: its status and its open items are those of a later turn.
        events = [
            replace(event, role="end" if event.role == "end" else "")
            for event in events
            if event.method != "thread/status/changed" and event.role != "delta"
        ]
        log.publish([log.batch(turn.thread_id, turn.owner, events)])
    announced = Announced(
        items={item.id: level(item) for item in items if item.announced < level(item)},
        turns={turn.id: ANNOUNCED_ENDED if turn.done else ANNOUNCED_STARTED},
        requests={approval.id: 1 if approval.state == "pending" else 2 for approval in approvals},
    )
    store.commit([], announced)


def level(item: Item) -> int:
    """How much of an item clients are told when all is told."""
    if item.item is None or item.started_at_ms is None:
        return 0
    return ANNOUNCED_STARTED if item.completed_at_ms is None else ANNOUNCED_ENDED
