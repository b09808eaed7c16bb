"""What the client has of one thread: the cursor to resume from, and which repeated events it must not get again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from api.cli.bridge.messages import DURABLE_METHODS, Message, Thread, turn_events

BEFORE_FIRST_EVENT = "0-0"


@dataclass(slots=True)
class FollowedThread:
    """What the client has of a thread that it follows.

    last_event_id: cursor: the last event that the client has
    resumed_by_bridge: the last thread/resume was sent by the bridge, so the server repeats what runs at the cursor
    turn_id:       of the last turn that the client knows
    delivered:     durable events of that turn, by method and id
    text_lengths:  characters of text that the client has, by stream of an item
    token_usage:   the last one that was delivered
    before_resume: notifications that a new connection brought before the thread was resumed on it; None: it is resumed
    """

    last_event_id: str = BEFORE_FIRST_EVENT
    resumed_by_bridge: bool = False
    turn_id: str | None = None
    delivered: set[tuple[str, ...]] = field(default_factory=set)
    text_lengths: Counter[tuple[str, ...]] = field(default_factory=Counter)
    token_usage: object = None
    before_resume: list[Message] | None = None

    def advance(self, event_id: str | None) -> None:
        """Move the cursor to this event, unless it is already further on; None: the message has no cursor."""
        if event_id is not None and _order(event_id) > _order(self.last_event_id):
            self.last_event_id = event_id

    def new_part(self, message: Message) -> Message | None:
        """Record a notification and return the part of it that the client does not have; None: it has all of it."""
        method, params, event_id = message["method"], message["params"], message.get("eventId")
        may_be_repeated = self.resumed_by_bridge and event_id in (None, self.last_event_id)
        self.advance(event_id)
        if method in DURABLE_METHODS:
            is_new = self._record_durable(method, params[DURABLE_METHODS[method]]["id"])
            return message if is_new else None
        if method == "item/reasoning/summaryPartAdded":
            key = (method, params["itemId"], str(params["summaryIndex"]))
            if may_be_repeated and key in self.delivered:
                return None
            self.delivered.add(key)
        elif method == "thread/tokenUsage/updated":
            if may_be_repeated and params["tokenUsage"] == self.token_usage:
                return None
            self.token_usage = params["tokenUsage"]
        elif isinstance(params.get("delta"), str) and "itemId" in params:
            return self._new_text(message, params, may_be_repeated)
        return message

    def _record_durable(self, method: str, row_id: str) -> bool:
        """Return whether the client lacks this event about a turn or an item, whichever way it comes."""
        key = (method, row_id)
        if key in self.delivered:
            return False
        if method == "turn/started":
            self.turn_id = row_id
            self.delivered.clear()
            self.text_lengths.clear()
        self.delivered.add(key)
        return True

    def _new_text(self, message: Message, params: Any, may_be_repeated: bool) -> Message | None:
        """Cut from a delta the text that the client has: a repetition starts at the beginning of its item."""
        stream = (message["method"], params["itemId"], str(params.get("contentIndex")), str(params.get("summaryIndex")))
        known = self.text_lengths[stream] if may_be_repeated else 0
        delta = params["delta"][known:]
        if known and not delta:
            return None
        self.text_lengths[stream] += len(delta)
        return {**message, "params": {**params, "delta": delta}} if known else message

    def missed_events(self, thread: Thread) -> Iterator[Message]:
        """Yield what the client lacks of the thread, as a reply shows it: of the turn that it knows and later ones.

        When the client knows none of the turns: of the turn that is running.
        """
        ids = [turn["id"] for turn in thread["turns"]]
        known = ids.index(self.turn_id) if self.turn_id in ids else len(ids)
        for index, turn in enumerate(thread["turns"]):
            is_open = ("turn/completed", turn["id"]) not in self.delivered
            if is_open and (index >= known or turn["status"] == "inProgress"):
                for message in turn_events(thread["id"], turn):
                    if (part := self.new_part(message)) is not None:
                        yield part


def _order(event_id: str) -> tuple[int, int]:
    ms, _, number = event_id.partition("-")
    return int(ms), int(number)
