"""The log of a turn's thread, and its only writer: items are stored, then published, never edited.

Owns the rows as of the last load() plus what this turn added since, the thread's settings, and the input that no step
has read. The model's answers are added by answer_recorder.py, a compaction by compaction.py, token counts by
token_usage.py; all of them write through the same TurnWriter, so that rows and events keep one order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from types import MappingProxyType
from typing import Any, cast

from shared import telemetry
from shared.clock import now_ms
from shared.config.client_mcp_servers import McpTables
from shared.events import durable_events
from shared.events.log import Event
from shared.ids import new_id
from shared.protocol.items import ThreadItem, ToolItem
from shared.protocol.model_items import Message, ModelItem, ReadImage, answered_call, name_image, text_message
from shared.protocol.settings import ThreadSettings
from shared.protocol.skills import SkillSettings
from shared.protocol.thread import GitInfo
from shared.protocol.turn import TurnError
from shared.protocol.user_input import UserInput
from shared.store import Store
from shared.store.items import Item
from shared.store.terminals import Terminal
from shared.store.turns import PendingInput
from shared.store.turns.ending import pending_input_item
from shared.store.writes import End, Write
from workers.agent.token_usage import ThreadUsage
from workers.control.fault_points import fault_point
from workers.control.stops import Interrupted
from workers.journal.turn_writer import TurnWriter
from workers.tools.base import PreparedCall, ToolResult

COMPACTED_SHARE = 2  # of the limit of other turns: what a compaction may read, so that a thread can be made smaller


class Transcript:
    """The log of one turn's thread.

    rows:           what the model is to see, in order: everything since the last compaction, that one included
    size_bytes:     of the rows, as of the last load
    settings:       the thread's settings, as of the step
    pending_inputs: input that no step has read, oldest first
    interrupted:    whether somebody asked the turn to stop
    own_budget:     the user's own tokens per day and per month; None where the server's limits hold
    has_reports:    whether the model must read of background terminals that have ended
    skill_settings: what the user has set about skills
    mcp_servers:    the tables of MCP servers in the user's own configuration
    """

    def __init__(
        self, writer: TurnWriter, store: Store, history_limit: int = 0, known_rows: Sequence[Item] = ()
    ) -> None:
        """Nothing is read before the first load.

        history_limit: bytes that the history may have, as of [limits] history_bytes; 0: no limit
        known_rows:    the log as it was when this process ended the thread's last turn; empty: it did not
        """
        self.claim = writer.claim
        self.writer = writer
        self.usage = ThreadUsage(writer)
        self.rows: list[Item] = [*known_rows]
        self.size_bytes = 0
        self._is_stored = True  # whether the rows here are those of the log, as far as they go
        self.settings = cast(ThreadSettings, {})  # until the first load
        self.pending_inputs: list[PendingInput] = []
        self.interrupted = False
        self.own_budget: tuple[int | None, int | None] = (None, None)
        self.has_reports = False
        self.skill_settings: SkillSettings = {}
        self.mcp_servers: McpTables = {}
        self._store = store
        self._history_limit = history_limit * (
            COMPACTED_SHARE if self.claim.turn.options.get("kind") == "compact" else 1
        )
        self._last_message: Item | None = None
        self._lock = threading.Lock()  # over `rows`, while calls run side by side

    # -- reading

    def load(self) -> None:
        """Read the log: a step starts from what is stored. Errors: ClaimLost, HistoryTooLarge.

        Rows that this claim has stored, or found before, are not read again: nobody else changes them while it holds,
        but for a command that runs on without its turn, and then ends.
        """
        known = list(takewhile(_has_settled, self.rows)) if self._is_stored else []
        self._is_stored = False
        self.writer.settle()
        found = self._store.read_step(self.claim, self._history_limit, known[-1] if known else None)
        kept = [] if found.is_whole else [row for row in known if row.position >= found.first_position]
        self._is_stored = True
        self.settings, self.usage.current, self.rows = found.settings, found.usage, [*kept, *found.rows]
        self.size_bytes = found.size_bytes
        self.pending_inputs, self.interrupted = found.pending_inputs, found.interrupted
        self.own_budget, self.has_reports = found.own_budget, found.has_reports
        self.skill_settings, self.mcp_servers = found.skill_settings, found.mcp_servers
        for row in self.rows:
            self._note_message(row)

    def load_whole(self) -> None:
        """Read the whole log, after an error: what was added here may not be stored. Errors: as of load."""
        self._is_stored = False
        self.load()

    def open_calls(self) -> list[Item]:
        """Return the tool calls that have no output, oldest first."""
        return [row for row in self.rows if not row.answered]

    @property
    def is_answered(self) -> bool:
        """Whether the model has answered everything that the user sent, and asks for no more tools."""
        kinds = ("answer", "userMessage", "hookPrompt")
        last = next((row for row in reversed(self.rows) if row.kind in kinds), None)
        return last is not None and last.kind == "answer" and last.turn_id == self.claim.turn_id

    @property
    def last_message(self) -> str:
        """The last message of this turn's agent; "" when there is none."""
        return "" if self._last_message is None or self._last_message.item is None else self._last_message.item["text"]

    def row(self, item_id: str) -> Item:
        return next(row for row in [*self.rows, *self.turn_rows()] if row.id == item_id)

    def turn_rows(self) -> list[Item]:
        """Return what this turn stored, in order, also what came before a compaction."""
        turn_id = self.claim.turn_id
        if self.rows and self.rows[0].kind == "contextCompaction" and self.rows[0].turn_id == turn_id:
            return self._store.items.of_turn(turn_id)
        return [row for row in self.rows if row.turn_id == turn_id]

    # -- adding rows

    def add_context(
        self, messages: Sequence[Message], git_info: GitInfo | None = None, reported: Sequence[str] = ()
    ) -> None:
        """Add messages of the server to the model, which no client sees. git_info, reported: as of Write."""
        self.store_rows([self.new_row("context", model_items=list(messages))], git_info=git_info, reported=reported)

    def add_reports(self) -> None:
        """Report background terminals to the model that neither the user nor the command itself has ended."""
        if self.has_reports:
            reports = self._store.terminals.reports(self.claim.thread_id, self.claim.owner)
            self.add_context([text_message("developer", "\n\n".join(reports.values()))], reported=list(reports))
            self.has_reports = False

    def add_item(
        self, kind: str, shown: Mapping[str, object], model_items: Sequence[ModelItem], before: Sequence[Event] = ()
    ) -> None:
        """Add an item that begins and ends at once. shown: as clients see it; model_items: as the model sees it.

        before: events to publish before those of the item
        """
        times = {"started_at_ms": now_ms(), "completed_at_ms": now_ms()}
        self.store_rows([self.new_row(kind, item=shown, model_items=list(model_items), **times)], before)

    def begin_item(self, kind: str, shown: Mapping[str, object]) -> str:
        """Add an item that only clients see and that `complete_later` ends; return its id."""
        row = self.new_row(kind, item=shown, started_at_ms=now_ms())
        self.store_rows([row])
        return row.id

    def add_pending_inputs(
        self,
        read_image: ReadImage = name_image,
        read_skills: Callable[[Sequence[UserInput]], list[Message]] = lambda message: [],
        context: Mapping[int, Sequence[str]] = MappingProxyType({}),
        before: Sequence[Event] = (),
    ) -> None:
        """Add the input that no step has read: messages as items, typed commands as open calls.

        read_skills: a message → what the model reads behind it
        context:     id of the input → what hooks want the model to read behind it
        before:      as of add_item
        """
        pending, self.pending_inputs = self.pending_inputs, []
        if not pending:
            return
        turn, at_ms, position = self.claim.turn, now_ms(), self._next_position()
        rows: list[Item] = []
        read: list[tuple[int, str]] = []
        for one in pending:
            rows.append(pending_input_item(turn, at_ms, position + len(rows), one, read_image))
            read.append((one.id, rows[-1].id))
            if one.command is None:
                telemetry.user_prompt(one.message)
                behind = read_skills(one.message)
                behind += [text_message("developer", text) for text in context.get(one.id, ())]
                if behind:
                    row = self.new_row("context", model_items=behind)
                    rows.append(replace(row, position=position + len(rows)))
        self.store_rows(rows, before, read=read)

    def drop_input(self, pending: PendingInput, before: Sequence[Event]) -> None:
        """Mark input as read that a hook has refused: neither the model nor a client gets it. before: as of add_item"""
        self.pending_inputs = [one for one in self.pending_inputs if one.id != pending.id]
        row = self.new_row("context", hooks={"blocked": True})
        self.store_rows([row], before, read=[(pending.id, row.id)])

    def new_row(self, kind: str, **values: Any) -> Item:
        """Return a row for the end of the log, without adding it."""
        return Item(
            id=values.pop("id", None) or new_id(),
            thread_id=self.claim.thread_id,
            turn_id=self.claim.turn_id,
            position=self._next_position(),
            kind=kind,
            **values,
        )

    def add_rows(self, rows: Iterable[Item]) -> None:
        """Append rows to the log in memory; the caller stores them."""
        for row in rows:
            self.rows.append(row)
            self._note_message(row)

    def store_rows(self, rows: Sequence[Item], before: Sequence[Event] = (), **more: Any) -> None:
        """Append rows, store them and publish their events. before: as of add_item; more: other members of the Write"""
        self.add_rows(rows)
        self.writer.store(Write(self.claim, append=list(rows), **more), *before, *durable_events.item_events(rows))

    def _next_position(self) -> int:
        return self.rows[-1].position + 1 if self.rows else 1

    def _note_message(self, row: Item) -> None:
        if row.kind == "agentMessage" and row.turn_id == self.claim.turn_id:
            self._last_message = row

    # -- the tool ledger

    def publish_item_started(self, row: Item, prepared: PreparedCall) -> None:
        """Publish item/started of a call, once. Errors: ClaimLost."""
        self._start_call(row, prepared.item, {})

    def begin_call(self, row: Item, prepared: PreparedCall) -> None:
        """Enter into the ledger that the call begins: from here on it is never begun again. Errors: ClaimLost."""
        self._start_call(row, prepared.begun_item or prepared.item, {"begun_at_ms": now_ms()})

    def end_call(self, row: Item, result: ToolResult) -> None:
        """Store the output of a call, and end its item unless its command still runs. Errors: ClaimLost."""
        row = self.row(row.id)
        values: dict[str, Any] = {"answered": True, "model_items": answered_call(row.open_call, result.output)}
        values["model_items"][1:1] = [text_message("developer", text) for text in (row.hooks or {}).get("context", ())]
        events: list[Event] = []
        if result.item is not None and not result.goes_on:
            values |= {"item": result.item, "kind": result.item["type"], "completed_at_ms": now_ms()}
            values["started_at_ms"] = row.started_at_ms or values["completed_at_ms"]
            events = durable_events.item_events([replace(row, **values)])
        events += [self.writer.event(method, dict(params)) for method, params in result.notifications]
        self._change(row, values, *events)

    def complete_later(self, item_id: str, item: ThreadItem) -> None:
        """End the item of an earlier call, whose command has ended. Errors: ClaimLost."""
        row = self.row(item_id)
        if row.completed_at_ms is None:
            values: dict[str, Any] = {"item": item, "completed_at_ms": now_ms()}
            self._change(row, values, durable_events.item_completed(replace(row, **values)))

    def change_row(self, row: Item, values: dict[str, Any], events: Sequence[Event]) -> None:
        """Store changed values of a row, then publish events; from any thread. Errors: ClaimLost."""
        self._change(row, values, *events)

    def _start_call(self, row: Item, item: ToolItem | None, values: dict[str, Any]) -> None:
        events: list[Event] = []
        if item is not None and row.started_at_ms is None:
            values |= {"kind": item["type"], "item": item, "started_at_ms": now_ms()}
            row = replace(row, **values)
            events.append(durable_events.item_started(row))
        if values:
            self._change(row, values, *events)

    def _change(self, row: Item, values: dict[str, Any], *events: Event) -> None:
        """Store changed values of a row; from any thread."""
        self.writer.store_and_wait(Write(self.claim, change=[(row.id, values)]), *events)
        with self._lock:
            self.rows = [replace(one, **values) if one.id == row.id else one for one in self.rows]

    def replace_model_items(self, replaced: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Change what the model sees of rows: row id → model_items. Errors: ClaimLost."""
        change: list[tuple[str, dict[str, Any]]] = [(row_id, {"model_items": replaced[row_id]}) for row_id in replaced]
        self.writer.store_and_wait(Write(self.claim, change=change))
        self.rows = [replace(row, model_items=replaced.get(row.id, row.model_items)) for row in self.rows]

    # -- how the turn begins and leaves

    def begin(self) -> None:
        """Publish that the turn runs, and what an earlier attempt stored without publishing it."""
        turn = self.claim.turn
        events = durable_events.turn_started(turn)
        if not self.claim.recovered:
            self.writer.open_with(*events)
            return
        items = self._store.items.of_turn(turn.id)
        unpublished = [item for item in items if item.published_state < durable_events.target_state(item)]
        open_ids = [item.id for item in items if item.completed_at_ms is None]
        events += durable_events.item_events(unpublished, self.writer.published_texts())
        # The log drops all other open items: texts that were cut off are no history.
        events.append(Event("", role="keep", text="\n".join(open_ids)))
        approvals = self._store.approvals.of_turn(turn.id)
        for approval in approvals:
            if approval.state == "pending":  # of an MCP server, whose call was lost with the worker
                self._store.approvals.drop(approval.id)
                events.append(durable_events.approval_resolved(approval))
            elif approval.published_state < 2:
                events.append(durable_events.approval_resolved(approval))
        events.append(durable_events.goes_on(turn.thread_id, approvals))
        self.writer.publish_events(*events, urgent=True)

    def park(
        self,
        row: Item,
        method: str,
        params: Mapping[str, object],
        keys: Sequence[str],
        expires_in_ms: int,
        kept: Sequence[Terminal] = (),
        lease_ms: int = 0,
    ) -> None:
        """Store a request to a person and release the turn in one step, then publish the request.

        kept:   as of `finish`
        Errors: ClaimLost, Interrupted (somebody interrupted the turn before it was released)
        """
        self.writer.settle()
        self.writer.begin_release()
        full = {"threadId": self.claim.thread_id, "turnId": self.claim.turn_id, **params}
        fault_point("before_park")
        approval = self._store.claims.park(
            self.claim, method, row.id, full, keys, expires_in_ms=expires_in_ms, terminals=kept, lease_ms=lease_ms
        )
        if approval is None:
            self.writer.cancel_release()
            raise Interrupted
        self.writer.publish_events(*_marks(kept), *durable_events.approval_requested(approval), urgent=True)

    def finish(
        self, status: str, error: TurnError | None = None, kept: Sequence[Terminal] = (), lease_ms: int = 0
    ) -> bool:
        """End the turn. False: input came in that no step has read, so the turn goes on. Errors: ClaimLost.

        kept: its commands that run on, which this worker holds for lease_ms
        """
        fault_point("before_end")
        self.usage.publish()
        at_ms = now_ms()
        ended = replace(self.claim.turn, phase="done", status=status, error=error, completed_at_ms=at_ms)
        write = Write(self.claim, end=End(status, at_ms, error, kept, lease_ms))
        events = [*_marks(kept), *durable_events.turn_ended(ended, self._last_message)]
        return self.writer.store_and_wait(write, *events) == "ok"


def _has_settled(row: Item) -> bool:
    """Return whether a row is not that of a command which still runs."""
    return row.started_at_ms is None or row.completed_at_ms is not None


def _marks(kept: Sequence[Terminal]) -> list[Event]:
    """Return the silent events that let the items of commands outlive their turn in the log."""
    return [Event("", item_id=terminal.item_id, role="background") for terminal in kept]
