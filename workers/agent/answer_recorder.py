"""Records one answer of the model: chunks become deltas for clients, and rows of the log.

Owns the item that streams now and the complete items of an answer that is not complete. The items of an answer are
stored together, so that a lost worker never leaves a message whose tool calls are unknown. Only what comes before a
further message or reasoning is stored earlier, because clients get items in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from shared.clock import now_ms
from shared.events import durable_events
from shared.ids import new_id
from shared.protocol.model_items import Message, ModelCall, ReasoningItem, WebSearchCall
from shared.protocol.notifications import AGENT_DELTA, PLAN_DELTA, REASONING_DELTA, SUMMARY_DELTA, SUMMARY_PART
from shared.protocol.token_usage import ThreadTokenUsage
from shared.protocol.web_search import of_provider, web_search
from shared.store.items import Item
from shared.store.usage import Spent
from shared.store.writes import Write
from workers.agent.proposed_plan import PlanSplitter, split
from workers.agent.transcript import Transcript
from workers.control.fault_points import fault_point
from workers.models.chunks import (
    Chunk,
    Closed,
    Opened,
    ReasoningDelta,
    SearchOpened,
    SummaryDelta,
    SummaryPart,
    TextDelta,
    TokenUsage,
)
from workers.models.output import message_text

MESSAGE_MEMBERS = {"phase": None, "moderation": None, "memoryCitation": None, "delivery": None, "questions": None}


def record_answer(
    transcript: Transcript, chunks: Iterable[Chunk], context_window: int, *, planning: bool = False
) -> bool:
    """Record an answer. False: the stream was cut; complete items stay, the item that was streaming is dropped.

    context_window: of the model, in tokens
    planning:       a proposed plan in a message becomes an item of its own
    Errors:         ModelError; items that were complete before stay
    """
    return AnswerRecorder(transcript, context_window, planning=planning).record(chunks)


class AnswerRecorder:
    """One answer of the model."""

    def __init__(self, transcript: Transcript, context_window: int, *, planning: bool) -> None:
        self._transcript = transcript
        self._writer = transcript.writer
        self._context_window = context_window
        self._plan = _PlanStream(self._publish_plan) if planning else None
        self._unstored: list[Item] = []  # complete items
        self._open_id = ""  # of the message or reasoning that streams now
        self._started_at_ms = 0
        self._searches: dict[str, tuple[str, int]] = {}  # of the provider, open: its id → id of the item, Unix ms

    def record(self, chunks: Iterable[Chunk]) -> bool:
        """Record the chunks. False: the stream was cut."""
        plan, publish_delta = self._plan, self._writer.publish_delta
        has_text = False
        complete = False
        try:
            for chunk in chunks:
                match chunk:
                    case TextDelta(text):
                        assert self._open_id
                        shown = plan.feed(text) if plan is not None else text
                        if shown:
                            publish_delta(AGENT_DELTA, self._open_id, shown, urgent=not has_text)
                        if not has_text:
                            has_text = True
                            fault_point("mid_stream")
                    case SummaryDelta(index, text):
                        assert self._open_id
                        publish_delta(SUMMARY_DELTA, self._open_id, text, index)
                    case ReasoningDelta(index, text):
                        assert self._open_id
                        publish_delta(REASONING_DELTA, self._open_id, text, index)
                    case SummaryPart(index):
                        assert self._open_id
                        self._writer.publish(SUMMARY_PART, {"itemId": self._open_id, "summaryIndex": index})
                    case Opened(kind):
                        self._store_items()
                        self._open_id, has_text, self._started_at_ms = new_id(), False, now_ms()
                        self._publish_started(kind, self._open_id, self._started_at_ms)
                    case SearchOpened(search_id):
                        self._store_items()
                        self._searches[search_id] = item_id, at_ms = new_id(), now_ms()
                        self._publish_started("search", item_id, at_ms)
                    case Closed(item):
                        self._close_item(item)
                        self._open_id = ""
                    case TokenUsage():
                        self._count(chunk)
                        complete = True
        finally:
            self._store_items()
            searches = [item_id for item_id, _ in self._searches.values()]
            for left_open in (self._open_id, plan.item_id if plan is not None else "", *searches):
                if left_open:
                    self._writer.abandon_item(left_open)
        return complete

    def _publish_started(self, kind: str, item_id: str, started_at_ms: int) -> None:
        """Publish item/started of an item that is not a row yet. kind: "message", "reasoning", "plan" or "search"."""
        if kind == "message":
            row = self._transcript.new_row("agentMessage", id=item_id, item={"text": "", **MESSAGE_MEMBERS})
        elif kind == "plan":
            row = self._transcript.new_row("plan", id=item_id, item={"text": ""})
        elif kind == "search":
            row = self._transcript.new_row("webSearch", id=item_id, item=web_search({"type": "other"}))
        else:
            row = self._transcript.new_row("reasoning", id=item_id, item={"summary": [], "content": []})
        self._writer.publish_events(durable_events.item_started(replace(row, started_at_ms=started_at_ms)))

    def _publish_plan(self, item_id: str, text: str) -> str:
        """Publish more text of the proposed plan, which begins when item_id is ""; return the id of its item."""
        if not item_id:
            item_id = new_id()
            self._publish_started("plan", item_id, now_ms())
        self._writer.publish_delta(PLAN_DELTA, item_id, text)
        return item_id

    def _close_item(self, item: Message | ReasoningItem | ModelCall | WebSearchCall) -> None:
        """Make a row of a complete item of the model."""
        plan, open_id, new_row = self._plan, self._open_id, self._transcript.new_row
        if plan is not None and open_id and (shown := plan.flush()):
            self._writer.publish_delta(AGENT_DELTA, open_id, shown)
        proposed: str | None = None
        if item["type"] == "message":
            text = message_text(item)
            if plan is not None:
                text, proposed = split(text)
            members = {**MESSAGE_MEMBERS, "text": text, "phase": item.get("phase")}
            row = new_row("agentMessage", id=open_id, item=members)
        elif item["type"] == "reasoning":
            summary = [part["text"] for part in item["summary"]]
            content = [part["text"] for part in item.get("content", ())]
            row = new_row("reasoning", id=open_id, item={"summary": summary, "content": content})
        elif item["type"] == "web_search_call":
            item_id, at_ms = self._searches.pop(str(item.get("id")), (new_id(), now_ms()))
            times = {"started_at_ms": at_ms, "completed_at_ms": now_ms()}
            return self._add(new_row("webSearch", id=item_id, item=of_provider(item), model_items=[item], **times))
        else:
            fault_point("mid_answer")
            return self._add(new_row("call", call_id=item["call_id"], answered=False, model_items=[item]))
        at_ms = now_ms()
        started_at_ms = self._started_at_ms or at_ms
        self._add(replace(row, model_items=[item], started_at_ms=started_at_ms, completed_at_ms=at_ms))
        if plan is not None and proposed is not None:
            times = {"started_at_ms": at_ms, "completed_at_ms": at_ms}
            self._add(new_row("plan", id=plan.pop_item_id(), item={"text": proposed}, **times))
        return None

    def _count(self, usage: TokenUsage) -> None:
        """Store the answer with its token counts: the stream is complete."""
        transcript = self._transcript
        transcript.usage.count_answer(usage, self._context_window, transcript.settings.get("effort"))
        has_calls = bool(transcript.open_calls())
        if not has_calls:  # by this row the next step knows that the model is done
            self._add(transcript.new_row("answer"))
        spent, settles = transcript.usage.settle_call(usage, transcript.settings["model"])
        self._store_items(transcript.usage.current, spent, settles=settles, urgent=has_calls)

    def _add(self, row: Item) -> None:
        """Add a complete item, to be stored with the rest of its answer."""
        self._unstored.append(row)
        self._transcript.add_rows([row])

    def _store_items(
        self,
        usage: ThreadTokenUsage | None = None,
        spent: Spent | None = None,
        *,
        settles: bool = False,
        urgent: bool = False,
    ) -> None:
        rows, self._unstored = self._unstored, []
        if rows or usage:
            write = Write(self._transcript.claim, append=rows, usage=usage, spent=spent, settles=settles)
            self._writer.store(write, *durable_events.item_events(rows), urgent=urgent)


class _PlanStream:
    """Separates a proposed plan from the message that streams now. item_id: of the plan; "" until its first text."""

    def __init__(self, publish: Callable[[str, str], str]) -> None:
        """publish: (item id or "", text of the plan) → item id."""
        self.item_id = ""
        self._publish = publish
        self._splitter = PlanSplitter()

    def feed(self, text: str) -> str:
        """Publish what belongs to the plan; return the rest of the text."""
        return self._publish_pieces(self._splitter.feed(text))

    def flush(self) -> str:
        """Publish and return what is left of a complete message; the next one starts outside of a plan."""
        rest = self._publish_pieces(self._splitter.flush())
        self._splitter = PlanSplitter()
        return rest

    def pop_item_id(self) -> str:
        """End the plan's item; return its id, or "" when none began."""
        item_id, self.item_id = self.item_id, ""
        return item_id

    def _publish_pieces(self, pieces: Iterable[tuple[bool, str]]) -> str:
        rest = ""
        for is_plan, text in pieces:
            if is_plan:
                self.item_id = self._publish(self.item_id, text)
            else:
                rest += text
        return rest
