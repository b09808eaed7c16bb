"""The hooks of a turn: which run, and what they decide (BEHAVIOUR-171 9).

A decision is stored before anything follows from it: with the call, the prompt or the item that it is about. A worker
that takes the turn over finds it there and does not ask again. A hook that was lost with its worker has decided nothing
and runs again. Clients are notified of the end of a hook when its decision is stored.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.events.log import Event
from shared.hook_files import matches, run_name, runnable, state_of
from shared.protocol.hooks import NAMES, WITHOUT_EFFECT, Hook, HookEvent, HookNotes, HookRun
from shared.protocol.items import message_text
from shared.protocol.model_items import text_message
from shared.store.items import Item
from shared.store.turns import PendingInput
from shared.store.users import LOCAL_USER
from workers.agent.running_turn import RunningTurn
from workers.control.fault_points import fault_point
from workers.control.stops import Interrupted, Stop
from workers.hooks.answers import HookAnswer, failed
from workers.hooks.program import of_operator, run_hook
from workers.hooks.seen_calls import SeenCall, changed_arguments, response_of, seen_call
from workers.tools.base import ToolContext, ToolResult
from workers.workspace.scope import shell_variables

MAX_CONTINUATIONS = 10  # of one turn by Stop hooks
STARTED, COMPLETED = "hook/started", "hook/completed"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the hooks of one event said. answers: (id of the run, answer); events: that they have ended, to publish"""

    answers: Sequence[tuple[str, HookAnswer]] = ()
    events: Sequence[Event] = ()

    @property
    def context(self) -> list[str]:
        return [answer.context for _, answer in self.answers if answer.context is not None]

    def refusal(self, *, required: bool) -> str | None:
        """Return why something is refused; None: it is not. required: a hook that fails refuses too."""
        for _, answer in self.answers:
            if answer.status in ("blocked", "stopped"):
                return answer.reason
            if required and answer.status == "failed":
                return f"a hook that must pass has failed: {answer.entries[-1]['text']}"
        return None


def turn_hooks(turn: RunningTurn, ctx: ToolContext) -> TurnHooks | None:
    """Return the hooks of a turn, for a step; None: there are none. Which run is decided once per attempt."""
    of_server = turn.config.hooks.found.hooks
    of_project = turn.transcript.settings.get("hooks") or ()
    if not of_server and not of_project:
        return None
    if turn.hooks is not None:
        turn.hooks.enter(ctx)
        return turn.hooks
    owner = turn.transcript.claim.owner
    if owner == LOCAL_USER:
        state = state_of(turn.store.user_configs.get(owner)[0])
        found = runnable([*of_server, *of_project], state, managed=False)
    else:  # what lies in a repository never runs for a user of a server with keys
        found = runnable([{**hook, "source": "system"} for hook in of_server], {}, managed=True)
    return TurnHooks(turn, ctx, [(order, hook) for order, hook in found if hook["eventName"] not in WITHOUT_EFFECT])


class TurnHooks:
    """The hooks that run in one turn, each with its place in the list. All calls may raise Stop and ClaimLost."""

    def __init__(self, turn: RunningTurn, ctx: ToolContext, hooks: Sequence[tuple[int, Hook]]) -> None:
        self._transcript = turn.transcript
        self._required = turn.config.hooks.required
        self._is_compact = turn.kind == "compact"
        self._is_regular = turn.kind == "regular"
        self._hosted = turn.transcript.claim.owner != LOCAL_USER
        self._memory_bytes = turn.config.limits.command_memory_bytes if self._hosted else 0
        self._variables = shell_variables(turn.config)
        self._hooks = hooks
        self._may_compact = False
        self.enter(ctx)

    def enter(self, ctx: ToolContext) -> None:
        """Begin a step."""
        self._ctx = of_operator(ctx, self._variables) if self._hosted else ctx

    # -- tool calls

    def before_call(self, row: Item) -> ToolResult | None:
        """Run the PreToolUse hooks of a call, once. Return the result of a call that they refuse.

        The arguments that they change are in the row afterwards. Errors: ToolError: the tool cannot read the call, so
        that hooks cannot judge it, either.
        """
        call = seen_call(row)
        if (row.hooks or {}).get("before") or call is None or not self._are_for(call):
            return None
        payload = {"tool_name": call.name, "tool_input": call.input, "tool_use_id": row.call_id}
        outcome = self._run("preToolUse", payload, call.names, row.call_id)
        refusal = outcome.refusal(required=self._required)
        notes: HookNotes = {"before": True, "context": outcome.context}
        for _, answer in outcome.answers:
            if answer.arguments is not None:
                changed = changed_arguments(row, answer.arguments)
                if changed is None:
                    refusal = refusal or "the hook changed the input to one without a command"
                else:
                    notes["arguments"] = changed
        if refusal is not None:
            notifications = [(event.method, event.params) for event in outcome.events]
            return ToolResult(call.refusal(refusal), failed=True, notifications=notifications)
        self._note(row, notes, outcome.events)
        return None

    def permission(self, row: Item, reason: str | None) -> HookNotes:
        """Run the PermissionRequest hooks of a call, once; return what they have decided. reason: of the model."""
        row = self._transcript.row(row.id)
        call = seen_call(row)
        notes: HookNotes = row.hooks or {}
        if "permission" in notes or call is None:
            return notes
        tool_input = {**call.input, "description": reason} if reason else call.input
        payload = {"tool_name": call.name, "tool_input": tool_input}
        outcome = self._run("permissionRequest", payload, call.names, row.call_id)
        if not outcome.answers:
            return notes
        behaviors = {answer.behavior: answer.reason for _, answer in outcome.answers}
        decided: HookNotes = {**notes, "permission": "ask"}
        if "deny" in behaviors:
            decided |= {"permission": "deny", "message": behaviors["deny"] or ""}
        elif "allow" in behaviors:
            decided["permission"] = "allow"
        self._note(row, decided, outcome.events)
        return decided

    def after_call(self, row_id: str) -> None:
        """Run the PostToolUse hooks of a call that has ended, once. Called from several threads."""
        row = self._transcript.row(row_id)
        notes: HookNotes = row.hooks or {}
        call = seen_call(row)
        if not notes.get("before") or notes.get("after") or row.begun_at_ms is None or call is None:
            return
        runs_on = row.item is not None and row.completed_at_ms is None
        payload = {"tool_name": call.name, "tool_input": call.input, "tool_response": response_of(row)}
        payload["tool_use_id"] = row.call_id
        outcome = Outcome() if runs_on else self._run("postToolUse", payload, call.names, row.call_id)
        *before, output = row.model_items
        before += [text_message("developer", text) for text in outcome.context]
        if (feedback := outcome.refusal(required=False)) is not None:
            output = {**output, "output": feedback}
        values = {"model_items": [*before, output], "hooks": {**notes, "after": True}}
        self._transcript.change_row(row, values, outcome.events)

    def finish(self) -> None:
        """Run the hooks that a lost worker did not run after what has ended in this turn."""
        for row in self._transcript.turn_rows():
            if row.answered and row.hooks is not None and row.hooks.get("before") and not row.hooks.get("after"):
                if row.kind == "contextCompaction":
                    self._after_compaction(row)
                else:
                    self.after_call(row.id)

    # -- prompts

    def before_input(self) -> tuple[dict[int, list[str]], list[Event]]:
        """Run the hooks of input that no step has read, and drop what they refuse.

        Returns: id of the input → what the model is to read after it; and that the hooks have ended, to be published
                 when the input is stored
        """
        transcript = self._transcript
        messages = [one for one in transcript.pending_inputs if one.command is None]
        if not messages:
            return {}, []
        if not self._start_session():
            for pending in messages:
                transcript.drop_input(pending, ())
            return {}, []
        context: dict[int, list[str]] = {}
        events: list[Event] = []
        for pending in messages:
            outcome = self._run("userPromptSubmit", {"prompt": _text(pending)})
            if outcome.refusal(required=self._required) is not None:
                transcript.drop_input(pending, outcome.events)
                continue
            context[pending.id] = outcome.context
            events += outcome.events
        return context, events

    def _start_session(self) -> bool:
        """Run the SessionStart hooks before the thread's first message, once. False: they stop the turn."""
        transcript = self._transcript
        kinds = {row.kind for row in transcript.rows}
        if kinds & {"userMessage", "answer", "contextCompaction"} or any(
            "started" in (row.hooks or {}) for row in transcript.rows
        ):
            return True
        outcome = self._run("sessionStart", {"source": "startup"}, ("startup",))
        if not outcome.answers:
            return True
        messages = [text_message("developer", text) for text in outcome.context]
        row = transcript.new_row("context", model_items=messages, hooks={"started": True})
        transcript.store_rows([row], outcome.events)
        return not any(answer.stops for _, answer in outcome.answers)

    # -- the end of a turn

    def lets_stop(self) -> bool:
        """Run the Stop hooks. False: the turn goes on with what they ask for."""
        transcript = self._transcript
        if not self._is_regular:
            return True
        continued = sum(row.kind == "hookPrompt" for row in transcript.turn_rows())
        if continued >= MAX_CONTINUATIONS:
            message = f"Stop hooks have let this turn go on {continued} times; it ends now, and they were not asked"
            transcript.writer.publish("warning", {"message": message})
            return True
        payload = {"stop_hook_active": continued > 0, "last_assistant_message": transcript.last_message or None}
        outcome = self._run("stop", payload)
        asked = [(run_id, answer.reason or "") for run_id, answer in outcome.answers if answer.status == "blocked"]
        if not asked or any(answer.stops for _, answer in outcome.answers):
            transcript.writer.publish_events(*outcome.events)
            return True
        fragments = [{"text": text, "hookRunId": run_id} for run_id, text in asked]
        prompts = [f'<hook_prompt hook_run_id="{run_id}">{text}</hook_prompt>' for run_id, text in asked]
        messages = [text_message("user", prompt) for prompt in prompts]
        transcript.add_item("hookPrompt", {"type": "hookPrompt", "fragments": fragments}, messages, outcome.events)
        return False

    # -- compactions

    def before_compaction(self) -> HookNotes | None:
        """Run the PreCompact hooks; return the notes of the compaction. Errors: Interrupted (they rule it out)."""
        if not self._may_compact:  # a compaction that was cut is tried again
            outcome = self._run("preCompact", self._trigger, (self._trigger["trigger"],))
            self._transcript.writer.publish_events(*outcome.events)
            if any(answer.stops for _, answer in outcome.answers):
                raise Interrupted
            self._may_compact = True
        return {"before": True} if self._of("postCompact", (self._trigger["trigger"],)) else None

    def _after_compaction(self, row: Item) -> None:
        self._may_compact = False
        outcome = self._run("postCompact", self._trigger, (self._trigger["trigger"],))
        self._transcript.change_row(row, {"hooks": {"before": True, "after": True}}, outcome.events)

    @property
    def _trigger(self) -> dict[str, str]:
        return {"trigger": "manual" if self._is_compact else "auto"}

    # -- running

    def _of(self, event: HookEvent, names: Sequence[str]) -> list[tuple[int, Hook]]:
        return [(order, hook) for order, hook in self._hooks if hook["eventName"] == event and matches(hook, *names)]

    def _are_for(self, call: SeenCall) -> bool:
        return bool(self._of("preToolUse", call.names) or self._of("postToolUse", call.names))

    def _run(
        self, event: HookEvent, payload: Mapping[str, object], names: Sequence[str] = (), call_id: str | None = None
    ) -> Outcome:
        """Run the hooks of an event, one after the other. call_id: of the tool call that they are about"""
        hooks = self._of(event, names)
        if not hooks:
            return Outcome()
        full = {**self._common(event), **payload}
        answers, events = [], []
        for order, hook in hooks:
            run = _begun_run(order, hook, call_id)
            writer = self._transcript.writer
            writer.publish_events(writer.event(STARTED, {"run": run}), urgent=True)  # it is seen while the hook runs
            began_at = time.monotonic()
            fault_point("in_hook")
            try:
                answer = run_hook(hook, full, self._ctx, self._memory_bytes)
            except Stop:
                cut = _ended_run(run, failed("hook was ended because its turn stops"), began_at)
                self._transcript.writer.publish(COMPLETED, {"run": cut})
                raise
            if answer.status == "failed":
                ids = {"turn_id": self._transcript.claim.turn_id, "thread_id": self._transcript.claim.thread_id}
                logger.warning("hook failed: %s", hook["key"], extra=ids)
            answers.append((run["id"], answer))
            events.append(self._transcript.writer.event(COMPLETED, {"run": _ended_run(run, answer, began_at)}))
        fault_point("before_hook_decision")
        return Outcome(answers, events)

    def _common(self, event: HookEvent) -> dict[str, object]:
        """Return what hooks of every event get."""
        claim, settings = self._transcript.claim, self._transcript.settings
        common: dict[str, object] = {"session_id": claim.thread_id, "transcript_path": None, "cwd": settings["cwd"]}
        common |= {"hook_event_name": NAMES[event], "model": settings["model"]}
        if event != "sessionStart":
            common["turn_id"] = claim.turn_id
        if event not in ("preCompact", "postCompact"):
            never = settings["approvalPolicy"] == "never"
            common["permission_mode"] = "bypassPermissions" if never else "default"
        return common

    def _note(self, row: Item, notes: HookNotes, events: Sequence[Event]) -> None:
        self._transcript.change_row(row, {"hooks": notes}, events)


def _text(pending: PendingInput) -> str:
    return message_text({"content": pending.message})


def _begun_run(order: int, hook: Hook, call_id: str | None) -> HookRun:
    event = hook["eventName"]
    parts = [run_name(event), str(order), hook["sourcePath"], *([call_id] if call_id else [])]
    return {
        "id": ":".join(parts),
        "eventName": event,
        "handlerType": "command",
        "executionMode": "sync",
        "scope": "thread" if event == "sessionStart" else "turn",
        "sourcePath": hook["sourcePath"],
        "source": hook["source"],
        "displayOrder": order,
        "status": "running",
        "statusMessage": hook["statusMessage"],
        "startedAt": int(time.time()),
        "completedAt": None,
        "durationMs": None,
        "entries": [],
    }


def _ended_run(run: HookRun, answer: HookAnswer, began_at: float) -> HookRun:
    duration_ms = round((time.monotonic() - began_at) * 1000)
    return {
        **run,
        "status": answer.status,
        "completedAt": int(time.time()),
        "durationMs": duration_ms,
        "entries": answer.entries,
    }
