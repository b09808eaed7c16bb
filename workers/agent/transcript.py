"""The one who adds to a turn's log: each item is stored, then published. History grows, it is never edited."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from shared import announcements, telemetry
from shared.clock import now_ms
from shared.errors import ClaimLost
from shared.events import Event
from shared.ids import new_id
from shared.protocol.notifications import (
    AGENT_DELTA,
    OUTPUT_DELTA,
    PLAN_DELTA,
    REASONING_DELTA,
    SUMMARY_DELTA,
    SUMMARY_PART,
)
from shared.store import Store
from shared.store.items import Item
from shared.store.turns import Claim, Mail, letter_row, with_output
from shared.store.writes import End, Write
from workers.agent import faults
from workers.agent.compaction import estimate_tokens
from workers.agent.journal import Held, Journal
from workers.agent.proposed_plan import PlanSplitter, split
from workers.models.chunks import (
    Chunk,
    Closed,
    Opened,
    ReasoningDelta,
    SummaryDelta,
    SummaryPart,
    TextDelta,
    Usage,
)
from workers.tools.base import Outcome, Plan

MESSAGE_MEMBERS = {"phase": None, "moderation": None, "memoryCitation": None, "delivery": None, "questions": None}

COUNTERS = (
    "totalTokens",
    "inputTokens",
    "cachedInputTokens",
    "cacheWriteInputTokens",
    "outputTokens",
    "reasoningOutputTokens",
)


class Transcript:
    """The log of one turn's thread, as of the last load(), and all writing to it."""

    def __init__(self, claim: Claim, held: Held, store: Store, journal: Journal) -> None:
        self.claim = claim
        self.rows: list[Item] = []
        self.settings: dict[str, Any] = {}
        self.mail: list[Mail] = []  # input that nobody has read yet
        self.interrupted = False
        self.own_budget: tuple[int | None, int | None] = (None, None)  # tokens a day and a month; None: the defaults
        self.reserved = False  # tokens are, for the model call that is made now
        self._held = held
        self._store = store
        self._journal = journal
        self._unsettled: list[Future[str]] = []  # writes that nobody waited for yet
        self._said: list[Item] = []  # complete items of an answer that is not complete
        self._usage: dict[str, Any] | None = None  # the thread's tokenUsage
        self._usage_untold = False
        self._final: Item | None = None
        self._silent = not claim.recovered  # nobody has seen a word of the turn

    # -- reading

    def load(self) -> None:
        """Read the log anew: a step starts from what is stored. Errors: ClaimLost."""
        self.settle()
        found = self._store.read_step(self.claim)
        self.settings, self._usage, self.rows = found.settings, found.usage, found.rows
        self.mail, self.interrupted, self.own_budget = found.mail, found.interrupted, found.own_budget
        for row in self.rows:
            self._remember(row)

    def settle(self) -> None:
        """Wait until what was handed to the journal is stored. Errors: ClaimLost."""
        unsettled, self._unsettled = self._unsettled, []
        for stored in unsettled:
            stored.result()

    def open_calls(self) -> list[Item]:
        """Tool calls without an output, oldest first."""
        return [row for row in self.rows if not row.answered]

    @property
    def answered(self) -> bool:
        """Whether the model has said its last word to what was said so far."""
        turn_id, telling = self.claim.turn_id, ("answer", "userMessage")
        last = next((row for row in reversed(self.rows) if row.kind in telling), None)
        return last is not None and last.kind == "answer" and last.turn_id == turn_id

    def row(self, item_id: str) -> Item:
        return next(row for row in [*self.rows, *self.turn_rows()] if row.id == item_id)

    def turn_rows(self) -> list[Item]:
        """What this turn stored, in order, also before a compaction."""
        turn_id = self.claim.turn_id
        if self.rows and self.rows[0].kind == "contextCompaction" and self.rows[0].turn_id == turn_id:
            return self._store.items.of_turn(turn_id)
        return [row for row in self.rows if row.turn_id == turn_id]

    # -- what a claim says first

    def begin(self) -> None:
        """Say that the turn runs, and whatever an earlier attempt stored and did not say."""
        turn = self.claim.turn
        events = announcements.turn_started(turn)
        if self.claim.recovered:
            items = self._store.items.of_turn(turn.id)
            told = [item for item in items if item.announced < announcements.level(item)]
            started = [item.id for item in items if item.started_at_ms and item.completed_at_ms is None]
            events += announcements.item_events(told, self._journal.told_texts(self._held))
            events.append(Event("", role="keep", text="\n".join(started)))  # half messages are no history
            for approval in self._store.approvals.of_turn(turn.id):
                if approval.state != "pending" and approval.announced < 2:
                    events.append(announcements.question_resolved(approval))
            events.append(self._status([]))
        self._journal.say(self._held, *events, urgent=True)

    def _status(self, flags: Sequence[str]) -> Event:
        status = {"type": "active", "activeFlags": list(flags)}
        return Event("thread/status/changed", {"threadId": self.claim.thread_id, "status": status})

    # -- what is said and not stored

    def say(self, method: str, params: dict[str, Any]) -> None:
        """Publish a notification of the turn; threadId and turnId are filled in."""
        self._journal.say(self._held, Event(method, {**self._ids(), **params}))

    def say_delta(
        self, method: str, item_id: str, text: str, index: int | None = None, *, urgent: bool = False
    ) -> None:
        """Publish more text of an open item. index: the part, of streams that have parts."""
        if self._silent and method != OUTPUT_DELTA:
            self._silent = False
            telemetry.first_delta(self.claim.turn.created_at_ms)
        params = {**self._ids(), "itemId": item_id, "delta": text}
        stream = method
        if index is not None:
            params["contentIndex" if method == REASONING_DELTA else "summaryIndex"] = index
            stream = f"{method}#{index}"
        event = Event(method, params, item_id=item_id, role="delta", stream=stream, text=text)
        self._journal.say(self._held, event, urgent=urgent)

    def _ids(self) -> dict[str, Any]:
        return {"threadId": self.claim.thread_id, "turnId": self.claim.turn_id}

    # -- what the model reads

    def add_context(self, messages: Sequence[dict[str, Any]], git_info: dict[str, Any] | None = None) -> None:
        """What the harness tells the model: no client sees it, and nobody said it. git_info: Write's."""
        row = self._new_row("context", model_items=list(messages))
        self._store_rows([row], git_info=git_info)

    def add_item(self, kind: str, shown: dict[str, Any], model_items: Sequence[dict[str, Any]]) -> None:
        """Something that began and ended at once, as clients and the model see it."""
        at = {"started_at_ms": now_ms(), "completed_at_ms": now_ms()}
        self._store_rows([self._new_row(kind, item=shown, model_items=list(model_items), **at)])

    def begin_item(self, kind: str, shown: dict[str, Any]) -> str:
        """Something that goes on, and that the model need not know of; `complete_later` ends it. Its id."""
        row = self._new_row(kind, item=shown, started_at_ms=now_ms())
        self._store_rows([row])
        return row.id

    @property
    def last_message(self) -> str:
        """What the agent of this turn said last."""
        return "" if self._final is None or self._final.item is None else str(self._final.item["text"])

    def add_letters(self, read_image: Callable[[str], dict[str, Any]] | None = None) -> None:
        """Take the input that came in since the last time: messages, and commands as open calls."""
        letters, self.mail = self.mail, []
        if not letters:
            return
        rows = [
            letter_row(self.claim.turn, now_ms(), self._next_position() + i, letter, read_image)
            for i, letter in enumerate(letters)
        ]
        for letter in letters:
            if not letter.is_command:
                telemetry.user_prompt(letter.input)
        read = [(letter.id, row.id) for letter, row in zip(letters, rows, strict=True)]
        self._store_rows(rows, read=read)

    def _store_rows(self, rows: Sequence[Item], **more: Any) -> None:
        self._add_rows(rows)
        write = Write(self.claim, append=list(rows), **more)
        self._unsettled.append(self._journal.store(self._held, write, *announcements.item_events(rows)))

    def _add_rows(self, rows: Iterable[Item]) -> None:
        for row in rows:
            self.rows.append(row)
            self._remember(row)

    def _remember(self, row: Item) -> None:
        if row.kind == "agentMessage" and row.turn_id == self.claim.turn_id:
            self._final = row

    def _new_row(self, kind: str, **values: Any) -> Item:
        return Item(
            id=values.pop("id", None) or new_id(),
            thread_id=self.claim.thread_id,
            turn_id=self.claim.turn_id,
            position=self._next_position(),
            kind=kind,
            **values,
        )

    def _next_position(self) -> int:
        return self.rows[-1].position + 1 if self.rows else 1

    # -- what the model says

    def record(self, chunks: Iterable[Chunk], context_window: int, *, planning: bool = False) -> bool:
        """One answer of the model. False: the stream was cut; what is half is no history, what was complete stays.

        Its items are stored together, so that a worker that is lost leaves no message behind whose calls nobody knows;
        only what comes before a further message or reasoning goes earlier, for clients are told of items in order.

        planning: a proposed plan in a message is an item of its own
        Errors: ModelError; items that were complete before stay
        """
        open_id: str | None = None
        said_some = False
        started_at_ms = 0
        complete = False
        plan = _PlanStream(self) if planning else None
        try:
            for chunk in chunks:
                match chunk:
                    case TextDelta(text):
                        assert open_id is not None
                        said = plan.feed(text) if plan is not None else text
                        if said:
                            self.say_delta(AGENT_DELTA, open_id, said, urgent=not said_some)
                        if not said_some:
                            said_some = True
                            faults.at("mid_stream")
                    case SummaryDelta(index, text):
                        assert open_id is not None
                        self.say_delta(SUMMARY_DELTA, open_id, text, index)
                    case ReasoningDelta(index, text):
                        assert open_id is not None
                        self.say_delta(REASONING_DELTA, open_id, text, index)
                    case SummaryPart(index):
                        assert open_id is not None
                        self.say(SUMMARY_PART, {"itemId": open_id, "summaryIndex": index})
                    case Opened(kind):
                        self._store_said()
                        open_id, said_some, started_at_ms = new_id(), False, now_ms()
                        self.open_item(kind, open_id, started_at_ms)
                    case Closed(item):
                        if plan is not None and open_id is not None and (said := plan.flush()):
                            self.say_delta(AGENT_DELTA, open_id, said)
                        self._close(item, open_id, started_at_ms, plan)
                        open_id = None
                    case Usage():
                        self._add_usage(chunk, context_window)
                        complete = True
        finally:
            self._store_said()
            for left in (open_id, plan.item_id if plan is not None else None):
                if left is not None:
                    self._journal.say(self._held, Event("", item_id=left, role="end"))
        return complete

    def open_item(self, kind: str, item_id: str, started_at_ms: int) -> None:
        """Tell clients that an item begins which is no row yet. kind: "message", "reasoning" or "plan"."""
        if kind == "message":
            row = self._new_row("agentMessage", id=item_id, item={"text": "", **MESSAGE_MEMBERS})
        elif kind == "plan":
            row = self._new_row("plan", id=item_id, item={"text": ""})
        else:
            row = self._new_row("reasoning", id=item_id, item={"summary": [], "content": []})
        started = announcements.item_started(replace(row, started_at_ms=started_at_ms))
        self._journal.say(self._held, started)

    def _close(self, item: dict[str, Any], open_id: str | None, started_at_ms: int, plan: _PlanStream | None) -> None:
        proposed: str | None = None
        match item["type"]:
            case "message":
                text = "".join(part.get("text", "") for part in item["content"])
                if plan is not None:
                    text, proposed = split(text)
                shown = {**MESSAGE_MEMBERS, "text": text, "phase": item.get("phase")}
                row = self._new_row("agentMessage", id=open_id, item=shown)
            case "reasoning":
                shown = {name: [part["text"] for part in item.get(name) or ()] for name in ("summary", "content")}
                row = self._new_row("reasoning", id=open_id, item=shown)
            case _:
                faults.at("mid_answer")
                row = self._new_row("call", call_id=item["call_id"], answered=False, model_items=[item])
                return self._keep(row)
        at_ms = now_ms()
        row = replace(row, model_items=[item], started_at_ms=started_at_ms or at_ms, completed_at_ms=at_ms)
        self._keep(row)
        if plan is not None and proposed is not None:
            shown = {"text": proposed}
            times = {"started_at_ms": at_ms, "completed_at_ms": at_ms}
            self._keep(self._new_row("plan", id=plan.take_id(), item=shown, **times))
        return None

    def _keep(self, row: Item) -> None:
        """A complete item, to be stored with the rest of its answer."""
        self._said.append(row)
        self._add_rows([row])

    def _store_said(self, usage: dict[str, Any] | None = None, *, urgent: bool = False, **spent: Any) -> None:
        rows, self._said = self._said, []
        if rows or usage:
            write = Write(self.claim, append=rows, usage=usage, **spent)
            events = announcements.item_events(rows)
            self._unsettled.append(self._journal.store(self._held, write, *events, urgent=urgent))

    @contextmanager
    def compacting(self) -> Iterator[Callable[[list[dict[str, Any]], Usage, int], None]]:
        """Tell clients that the history is being compacted; gives complete(model_items, usage, context_window).

        Without that call it is abandoned, as half messages are.
        """
        row = replace(self._new_row("contextCompaction", item={}), started_at_ms=now_ms())
        self._journal.say(self._held, announcements.item_started(row))

        def complete(model_items: list[dict[str, Any]], usage: Usage, context_window: int) -> None:
            done = replace(row, model_items=model_items, completed_at_ms=now_ms())
            self._count(usage, context_window)
            self._stand_at(estimate_tokens(model_items), context_window)
            write = Write(self.claim, append=[done], usage=self._usage, **self._spent(usage))
            stored = self._journal.store(self._held, write, *announcements.item_events([done]))
            self._unsettled.append(stored)
            self.rows.append(done)
            self.say_usage()

        try:
            yield complete
        finally:
            self._journal.say(self._held, Event("", item_id=row.id, role="end"))

    def window_exceeded(self, context_window: int) -> None:
        """The history does not fit any more: from now on it counts as filling the window."""
        self._stand_at(context_window, context_window)
        self._unsettled.append(self._journal.store(self._held, Write(self.claim, usage=self._usage)))

    @property
    def tokens_used(self) -> int:
        """Of the context window, at the last answer or compaction."""
        last: int = self._usage["last"]["totalTokens"] if self._usage else 0
        return last

    def _add_usage(self, usage: Usage, context_window: int) -> None:
        self._count(usage, context_window)
        asks = bool(self.open_calls())
        if not asks:  # the log tells that nothing more is to come
            self._keep(self._new_row("answer"))
        self._store_said(self._usage, urgent=asks, **self._spent(usage))

    def spend(self, tokens: int) -> None:
        """A model call is over that did not say what it took."""
        if tokens or self.reserved:
            write = Write(self.claim, spent=tokens, settles=self.reserved)
            self.reserved = False
            self._unsettled.append(self._journal.store(self._held, write, urgent=False))

    def _spent(self, usage: Usage) -> dict[str, Any]:
        """What a Write tells of the tokens of a call that is over; `spend` tells of one that reported none."""
        if not usage.spent:
            return {}
        settles, self.reserved = self.reserved, False
        return {"spent": usage.spent, "settles": settles}

    def _count(self, usage: Usage, context_window: int) -> None:
        last = {
            "totalTokens": usage.spent,
            "inputTokens": usage.input_tokens,
            "cachedInputTokens": usage.cached_input_tokens,
            "cacheWriteInputTokens": 0,
            "outputTokens": usage.output_tokens,
            "reasoningOutputTokens": usage.reasoning_output_tokens,
        }
        telemetry.tokens_used(last, self.settings.get("effort"))
        before = (self._usage or {}).get("total", {})
        total = {name: before.get(name, 0) + count for name, count in last.items()}
        self._usage = {"total": total, "last": last, "modelContextWindow": context_window}
        self._usage_untold = True

    def _stand_at(self, tokens: int, context_window: int) -> None:
        """What the next request takes, though no answer has told it."""
        last = {**dict.fromkeys(COUNTERS, 0), "totalTokens": tokens, "inputTokens": tokens}
        total = (self._usage or {}).get("total", dict.fromkeys(COUNTERS, 0))
        self._usage = {"total": total, "last": last, "modelContextWindow": context_window}
        self._usage_untold = True

    def say_usage(self) -> None:
        """thread/tokenUsage/updated: behind the tools that the answer asked for (PROTOCOL 7.5)."""
        if self._usage_untold:
            self._usage_untold = False
            self.say("thread/tokenUsage/updated", {"tokenUsage": self._usage})

    def owe_usage(self) -> None:
        """An earlier attempt got an answer that has not been acted on: it left it to us to tell what that used."""
        self._usage_untold = bool(self._usage and (self.answered or self.open_calls()))

    # -- the tool ledger

    def show(self, row: Item, plan: Plan, changes: dict[str, Any] | None = None) -> None:
        """Tell clients that a call starts, once. changes: of its row, stored with that. Errors: ClaimLost."""
        values: dict[str, Any] = dict(changes or {})
        events: list[Event] = []
        if plan.item is not None and row.started_at_ms is None:
            values |= {"kind": plan.item["type"], "item": plan.item, "started_at_ms": now_ms()}
            row = replace(row, **values)
            events.append(announcements.item_started(row))
        if values:
            self._change(row, values, *events)

    def begin_call(self, row: Item, plan: Plan) -> None:
        """The ledger: from here on this call is never begun again. Errors: ClaimLost."""
        self.show(row, plan, {"begun_at_ms": now_ms()})

    def check_authority(self) -> None:
        """Errors: ClaimLost, when the lease may be over by the clock."""
        if not self._journal.has_authority(self._held):
            raise ClaimLost("another worker may have the turn")

    def end_call(self, row: Item, outcome: Outcome) -> None:
        """The call has its output; its item ends unless its command goes on. Errors: ClaimLost."""
        row = self.row(row.id)
        call = row.model_items[0]
        values: dict[str, Any] = {"answered": True, "model_items": with_output(call, outcome.output)}
        events: list[Event] = []
        if outcome.item is not None and not outcome.goes_on:
            values |= {"item": outcome.item, "kind": outcome.item["type"], "completed_at_ms": now_ms()}
            values["started_at_ms"] = row.started_at_ms or values["completed_at_ms"]
            ended = replace(row, **values)
            events = announcements.item_events([ended])
        events += [Event(method, {**self._ids(), **params}) for method, params in outcome.notifications]
        self._change(row, values, *events)

    def complete_later(self, item_id: str, item: dict[str, Any]) -> None:
        """The command of an earlier call has ended. Errors: ClaimLost."""
        row = self.row(item_id)
        if row.completed_at_ms is None:
            values: dict[str, Any] = {"item": item, "completed_at_ms": now_ms()}
            self._change(row, values, announcements.item_completed(replace(row, **values)))

    def _change(self, row: Item, values: dict[str, Any], *events: Event) -> None:
        write = Write(self.claim, change=[(row.id, values)])
        self._journal.store(self._held, write, *events).result()
        self.rows = [replace(one, **values) if one.id == row.id else one for one in self.rows]

    # -- how the turn leaves

    def park(self, row: Item, method: str, params: dict[str, Any], keys: Sequence[str], expires_in_ms: int) -> None:
        """Store a question and let go of the turn in one step, then publish it. Errors: ClaimLost."""
        self.settle()
        self._journal.leave(self._held)
        full = {**self._ids(), **params}
        approval = self._store.turns.park(self.claim, method, row.id, full, keys, expires_in_ms=expires_in_ms)
        self._journal.say(self._held, *announcements.question_asked(approval), urgent=True)

    def finish(self, status: str, error: dict[str, Any] | None = None) -> bool:
        """End the turn. False: input came in that nobody has read; the turn goes on. Errors: ClaimLost."""
        faults.at("before_end")
        self.say_usage()
        at_ms = now_ms()
        ended = replace(self.claim.turn, phase="done", status=status, error=error, completed_at_ms=at_ms)
        write = Write(self.claim, end=End(status, at_ms, error))
        events = announcements.turn_ended(ended, self._final)
        return self._journal.store(self._held, write, *events).result() == "ok"


class _PlanStream:
    """The plan in the message that streams now. item_id: of its item, from the plan's first text on."""

    def __init__(self, transcript: Transcript) -> None:
        self.item_id: str | None = None
        self._transcript = transcript
        self._splitter = PlanSplitter()

    def feed(self, text: str) -> str:
        """Tell clients more of the plan; what of the text is not of it."""
        return self._tell(self._splitter.feed(text))

    def flush(self) -> str:
        """The message is complete; the next one starts outside of a plan."""
        said = self._tell(self._splitter.flush())
        self._splitter = PlanSplitter()
        return said

    def take_id(self) -> str | None:
        """The item is over. None: clients know nothing of it yet."""
        item_id, self.item_id = self.item_id, None
        return item_id

    def _tell(self, pieces: Iterable[tuple[bool, str]]) -> str:
        said = ""
        for is_plan, text in pieces:
            if not is_plan:
                said += text
                continue
            if self.item_id is None:
                self.item_id = new_id()
                self._transcript.open_item("plan", self.item_id, now_ms())
            self._transcript.say_delta(PLAN_DELTA, self.item_id, text)
        return said
