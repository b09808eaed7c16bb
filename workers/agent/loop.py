"""The loop of a turn: step after step, each from the log, until the model makes no more calls."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from shared import telemetry
from shared.catalogue import context_window
from shared.clock import now_ms
from shared.config import FULL_ACCESS, Config
from shared.errors import ClaimLost, ModelError, ToolError
from shared.protocol.dynamic_tools import functions
from shared.protocol.notifications import OUTPUT_DELTA
from shared.protocol.turn import turn_error
from shared.store import Store
from shared.store.items import Item
from shared.store.turns import SHELL_COMMAND
from shared.store.users import LOCAL_USER
from workers.agent import approvals, budget, compaction, faults, first_steps, input_images, prompt
from workers.agent.signal import Signal, Why
from workers.agent.stops import AwaitingAnswer, Interrupted, TurnFailed, raise_if_called
from workers.agent.transcript import Transcript
from workers.calls.area import server_folders
from workers.models import model_for
from workers.models.chunks import Usage
from workers.sandbox import files
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.sessions import Sessions
from workers.tools import TOOLS, apply_patch, dynamic_tool, user_shell
from workers.tools.base import Call, Outcome, Plan, Request, Tool, ToolContext
from workers.workspace import bounded, git_info, workspace_for

logger = logging.getLogger(__name__)

RETRY_FIRST_SECONDS = 0.2  # before a broken stream is begun again; doubles
RETRY_MOST_SECONDS = 10.0
CONTEXT_EXCEEDED = "contextWindowExceeded"
ESCALATED = {"type": "dangerFullAccess"}
UNKNOWN_OUTCOME = (
    "This call had started when the worker that ran it was lost. Its outcome is unknown: it may have run wholly, in "
    "part or not at all. It was not run again. Look at the state of things before you repeat it."
)


@dataclass
class Running:
    """A turn in this process, and all that its steps need."""

    config: Config
    store: Store
    transcript: Transcript
    signal: Signal
    sessions: Sessions = field(default_factory=Sessions)
    failures: int = 0  # of the model since its last whole answer
    rate_limits_told: dict[str, Any] | None = None  # to clients, by this attempt
    warned: set[str] = field(default_factory=set)  # periods of token budgets
    has_workspace: bool = False  # what the thread was to begin with is there

    @property
    def kind(self) -> str:
        return str(self.transcript.claim.turn.options.get("kind", "regular"))

    @property
    def context_window(self) -> int:
        return self.config.model_context_window or context_window(self.transcript.settings["model"])

    @property
    def claim_ids(self) -> tuple[str, str, str]:
        claim = self.transcript.claim
        return claim.turn_id, claim.thread_id, claim.owner


def run(turn: Running) -> None:
    """Step until the model makes no more calls. Errors: those of workers.agent.stops, ClaimLost."""
    while step(turn):
        pass


def adopt(turn: Running) -> None:
    """Sessions of an earlier attempt ended with its worker: close their items, tell the model. Errors: ClaimLost."""
    transcript = turn.transcript
    transcript.load()
    transcript.owe_usage()
    left = [row for row in transcript.turn_rows() if row.answered and row.started_at_ms and not row.completed_at_ms]
    for row in left:
        transcript.complete_later(row.id, {**(row.item or {}), "status": "failed"})
    if left:
        commands = ", ".join(f"`{(row.item or {}).get('command', row.kind)}`" for row in left)
        told = f"The worker that ran this turn was lost, and with it the commands that still ran: {commands}."
        transcript.add_context([prompt.message("developer", told)])


def step(turn: Running) -> bool:
    """One answer of the model, or the calls that are open; False when there is nothing left to do."""
    raise_if_called(turn.signal)
    transcript = turn.transcript
    turn.signal.clear(Why.STEER)  # before the look into the mail, so that no call for it is missed
    transcript.load()
    if transcript.mail:
        turn.signal.seen_mail = transcript.mail[-1].id
    if transcript.interrupted:
        raise Interrupted
    telemetry.describe_model(transcript.settings)
    if transcript.settings.get("workspace") and not turn.has_workspace:
        first_steps.make_workspace(turn.config, turn.store, transcript, turn.signal)
        turn.has_workspace = True
    ctx = context(turn)
    if transcript.open_calls():
        for row in transcript.open_calls():
            raise_if_called(turn.signal)
            answer_call(turn, row, ctx)
        complete_ended_commands(turn)
        say_diff(turn, ctx)
        transcript.say_usage()
        return True
    complete_ended_commands(turn)
    if not transcript.mail and transcript.answered:
        return conclude(turn)
    if compaction_is_due(turn):
        compact(turn)
        return True
    if not transcript.mail and not wants_answer(turn):
        return False
    policy = transcript.settings["approvalPolicy"]
    due = prompt.context_due(transcript.rows, ctx, policy if isinstance(policy, str) else "granular")
    if due:
        transcript.add_context(due, git_info(ctx.cwd, prompt.readable_root(ctx)))
    if turn.kind == "review":
        enter_review(turn)
    transcript.add_letters(input_images.reader(ctx))
    return bool(transcript.open_calls()) or sample(turn)


def enter_review(turn: Running) -> None:
    """Tell clients and the model, once, that what follows is a review (PROTOCOL 5.11)."""
    if not any(row.kind == "enteredReviewMode" for row in turn.transcript.turn_rows()):
        shown = {"review": turn.transcript.claim.turn.options["review"]}
        turn.transcript.add_item("enteredReviewMode", shown, [prompt.message("developer", prompt.REVIEW_INSTRUCTIONS)])


def exit_review(turn: Running, review: str) -> None:
    """The review is over; what came of it."""
    kinds = [row.kind for row in turn.transcript.turn_rows()]
    if "enteredReviewMode" in kinds and "exitedReviewMode" not in kinds:
        turn.transcript.add_item("exitedReviewMode", {"review": review}, [])


def wants_answer(turn: Running) -> bool:
    """Whether the model has a part in the turn: some kinds hold no more than what the user asked the server to do."""
    if turn.kind not in ("compact", "shell"):
        return True
    return any(row.kind == "userMessage" for row in turn.transcript.turn_rows())


def compaction_is_due(turn: Running) -> bool:
    """Whether the turn was begun for one that is still to come, or the context window is nearly full."""
    transcript = turn.transcript
    rows, turn_id = transcript.rows, transcript.claim.turn_id
    if turn.kind == "compact" and not any(row.kind == "contextCompaction" and row.turn_id == turn_id for row in rows):
        return True
    limit = compaction.token_limit(turn.config.model_auto_compact_token_limit, turn.context_window)
    return bool(rows) and rows[-1].kind != "contextCompaction" and transcript.tokens_used >= limit


def compact(turn: Running) -> None:
    """Let the model write the summary that history goes on from. Cut by a call, it is still due. Errors: TurnFailed."""
    rows, window = turn.transcript.rows, turn.context_window
    with turn.transcript.compacting() as complete:
        if not any(row.model_items for row in rows):
            return complete([], Usage(), window)
        try:
            summary = sum_up(turn, rows)
        except ModelError as error:
            return wait_to_retry(turn, error)
        if summary is not None:
            turn.failures = 0
            complete(compaction.replacement(rows, summary[0]), summary[1], window)
    return None


def sum_up(turn: Running, rows: Sequence[Item]) -> tuple[str, Usage] | None:
    """The model's summary of what fits into its window: the oldest is left out until it does. Errors: ModelError."""
    claim, settings = turn.transcript.claim, turn.transcript.settings
    model = model_for(turn.config, settings["modelProvider"])
    while True:
        request = prompt.build(turn.config, settings, rows, claim.thread_id, claim.turn_id, {})
        request.input.append(prompt.message("user", compaction.INSTRUCTIONS))
        call = budget.open_call(turn, request)
        if call is None:
            return None
        try:
            with model_span(settings), call:
                return compaction.summarise(call.metered(model.stream(call.request, turn.signal)))
        except ModelError as error:
            if error.info != CONTEXT_EXCEEDED or len(rows) < 2:
                raise
            rows = rows[max(1, len(rows) // 4) :]


def sample(turn: Running) -> bool:
    """Ask the model once; whether there is more to do."""
    transcript, config = turn.transcript, turn.config
    claim, settings = transcript.claim, transcript.settings
    request = prompt.build(config, settings, transcript.rows, claim.thread_id, claim.turn_id, claim.turn.options)
    try:
        model = model_for(config, settings["modelProvider"])
        call = budget.open_call(turn, request)
        if call is None:
            return True
        with model_span(settings), call:
            chunks = call.metered(model.stream(call.request, turn.signal))
            whole = transcript.record(chunks, turn.context_window, planning=prompt.is_planning(settings))
    except ModelError as error:
        wait_to_retry(turn, error)
        return True
    if not whole:
        return True  # cut by a call: the next step looks at it
    turn.failures = 0
    return True if transcript.open_calls() else conclude(turn)


def conclude(turn: Running) -> bool:
    """The model has said its last word. False: there is nothing left to do."""
    exit_review(turn, turn.transcript.last_message)
    turn.transcript.say_usage()
    budget.tell_now(turn)
    return False


def model_span(settings: dict[str, Any]) -> AbstractContextManager[None]:
    return telemetry.span("model", "client", model=settings["model"], provider=settings["modelProvider"])


def wait_to_retry(turn: Running, error: ModelError) -> None:
    """Tell clients that the stream is begun again, and wait (PROTOCOL section 10). Errors: TurnFailed."""
    provider = turn.config.model_providers.get(turn.transcript.settings["modelProvider"])
    most = provider.stream_max_retries if provider else 0
    turn.failures += 1
    if not error.retryable or turn.failures > most:
        if error.info == CONTEXT_EXCEEDED:
            turn.transcript.window_exceeded(turn.context_window)
        raise TurnFailed(turn_error(str(error), error.info, error.details))
    cause = {"responseStreamDisconnected": {"httpStatusCode": error.http_status}}
    shown = turn_error(f"Reconnecting... {turn.failures}/{most}", cause, error.details or str(error))
    turn.transcript.say("error", {"error": shown, "willRetry": True})
    wait = min(RETRY_MOST_SECONDS, RETRY_FIRST_SECONDS * 2 ** (turn.failures - 1)) * random.uniform(0.9, 1.1)
    turn.signal.wait(max(wait, error.retry_after_s or 0))


def answer_call(turn: Running, row: Item, ctx: ToolContext) -> None:
    """Give one open call its output: run it, ask about it, or tell the model why not."""
    transcript = turn.transcript
    call, tool = called(row, ctx)
    began_at = time.monotonic()

    def end(outcome: Outcome) -> None:
        transcript.end_call(row, outcome)
        told = (call.name, call.call_id, call.arguments, outcome.output)
        telemetry.tool_ended(*told, began_at, success=outcome.success)

    if tool is None:
        return end(refused(None, f"There is no tool `{call.name}`. Tools: {', '.join(TOOLS)}.", "failed"))
    if row.begun_at_ms is not None and not tool.PURE:
        logger.warning("a call's outcome is unknown", extra={"turn_id": row.turn_id, "item_id": row.id})
        return end(refused(row.item, UNKNOWN_OUTCOME, "failed"))
    try:
        plan = tool.plan(call, ctx)
    except ToolError as error:
        return end(refused(row.item, str(error), "failed"))
    verdict = judge(turn, row, plan)
    if plan.question is not None:
        telemetry.tool_decided(call.name, call.call_id, verdict.decision, verdict.source)
    if not verdict.allowed:
        if plan.question is not None and plan.question.escalates:
            telemetry.sandbox_left(call.name, call.call_id, "denied")
        transcript.show(row, plan)
        end(refused(plan.item, verdict.told, verdict.status))
        if verdict.cancelled:
            raise Interrupted
        return None
    if row.item is not None and row.item.get("changes") != (plan.item or {}).get("changes"):
        told = "The files changed after the user was asked about this patch, so it was not applied. Read them again."
        return end(refused(row.item, told, "failed"))
    if plan.request is not None:
        answer = answer_to(turn, row, plan, plan.request)
        ctx = replace(ctx, answer=answer, asked_at_ms=row.started_at_ms)
    if verdict.escalated:
        ctx = replace(ctx, sandbox=SandboxPolicy.from_wire(ESCALATED, ctx.cwd, hidden=()))
    faults.at("before_begun")
    transcript.begin_call(row, plan)
    ctx = replace(ctx, emit=partial(emit, transcript, row.id))
    faults.at("after_begun")
    transcript.check_authority()  # a process that stood still since then must not begin what another has told of
    began_at = time.monotonic()
    with telemetry.span("tool", tool_name=call.name, call_id=call.call_id):
        outcome = run_tool(tool, plan, ctx)
    if verdict.escalated:
        telemetry.sandbox_left(call.name, call.call_id, "escalated", began_at)
    faults.at("before_ended")
    return end(outcome)


def called(row: Item, ctx: ToolContext) -> tuple[Call, Tool | None]:
    """An open call, and the tool that it asks for if there is such a one."""
    name, text = asked_for(row)
    if row.model_items[0]["type"] == SHELL_COMMAND:
        return Call(row.id, "", name, text), user_shell
    tool = dynamic_tool if name in functions(ctx.dynamic_tools) else TOOLS.get(name)
    return Call(row.id, str(row.call_id), name, text), tool


def asked_for(row: Item) -> tuple[str, str]:
    """The name that an open call gives of its tool, and its arguments."""
    item = row.model_items[0]
    if item["type"] == SHELL_COMMAND:
        return user_shell.NAME, json.dumps(item)
    return item["name"], item["arguments"] if item["type"] == "function_call" else item["input"]


def run_tool(tool: Tool, plan: Plan, ctx: ToolContext) -> Outcome:
    """What a tool does wrong is something that the model gets to see, not the end of the turn."""
    try:
        return tool.run(plan, ctx)
    except ToolError as error:
        return refused(plan.item, str(error), "failed")
    except ClaimLost:
        raise
    except Exception:
        logger.exception("a tool failed", extra={"turn_id": ctx.turn_id, "tool": plan.call.name})
        return refused(plan.item, "The tool failed with an internal error; what it did is not known.", "failed")


def refused(item: dict[str, Any] | None, told: str, status: str) -> Outcome:
    """An outcome that says why there is none. item: as it began, or None."""
    ended = {**item, "status": status} if item is not None and "status" in item else item
    return Outcome(told, item=ended, failed=True)


def judge(turn: Running, row: Item, plan: Plan) -> approvals.Verdict:
    """Whether a call may run. Errors: AwaitingAnswer, when a person must be asked; the turn is parked then."""
    transcript = turn.transcript
    _, thread_id, owner = turn.claim_ids
    policy = transcript.settings["approvalPolicy"]
    may_escalate = FULL_ACCESS in turn.config.allowed_modes(hosted=owner != LOCAL_USER)
    verdict = approvals.decide(turn.store, owner, thread_id, plan, policy, may_escalate=may_escalate)
    if isinstance(verdict, approvals.Verdict):
        return verdict
    transcript.show(row, plan)
    started_at_ms = transcript.row(row.id).started_at_ms or 0
    if transcript.settings.get("approvalsReviewer", "user") != "user":
        for method, params in approvals.review_events(plan, started_at_ms):
            transcript.say(method, params)
        return approvals.Verdict(False, told=approvals.NOBODY_ASKED)
    request = Request(verdict.method, {"itemId": row.id, "startedAtMs": started_at_ms, **verdict.params})
    return park(turn, row, request, verdict.keys)


def answer_to(turn: Running, row: Item, plan: Plan, request: Request) -> dict[str, Any]:
    """What a client answered. Errors: AwaitingAnswer, when that is still to come; the turn is parked then."""
    asked = turn.store.approvals.for_item(row.id)
    if asked is None or asked.state != "answered":
        turn.transcript.show(row, plan)
        return park(turn, row, request, ())
    return asked.answer or {}


def park(turn: Running, row: Item, request: Request, keys: Sequence[str]) -> NoReturn:
    """Ask, and let go of the turn until the answer comes. Errors: AwaitingAnswer."""
    end_commands(turn, "the turn waiting for an answer")
    expires_in_ms = round(turn.config.server.approval_timeout_seconds * 1000)
    turn.transcript.park(row, request.method, request.params, keys, expires_in_ms)
    telemetry.turn_parked(request.method)
    raise AwaitingAnswer


def context(turn: Running) -> ToolContext:
    """What tools may touch, as the thread is set now. Errors: TurnFailed, for a folder that cannot be worked in."""
    turn_id, thread_id, owner = turn.claim_ids
    settings, config = turn.transcript.settings, turn.config
    cwd = Path(settings["cwd"])
    hosted = owner != LOCAL_USER
    try:
        own = workspace_for(config.server.workspaces_dir, owner, thread_id)
        if not files.is_folder(cwd):
            message = f"the working directory {cwd} does not exist on the worker; start the thread in one that does"
            raise TurnFailed(turn_error(message, "badRequest"))
        sandbox = SandboxPolicy.from_wire(
            settings["sandboxPolicy"], cwd, hidden=server_folders(config), workspace=own if hosted else None
        )
        if hosted:
            real = sandbox.readable_roots[0] if sandbox.readable_roots else own
            sandbox = bounded(sandbox, config.limits, real.parent, real)
    except ToolError as error:
        raise TurnFailed(turn_error(str(error), "sandboxError")) from error
    return ToolContext(
        thread_id=thread_id,
        turn_id=turn_id,
        cwd=sandbox.cwd,
        sandbox=sandbox,
        signal=turn.signal,
        sessions=turn.sessions,
        emit=partial(emit, turn.transcript, ""),
        complete_later=turn.transcript.complete_later,
        dynamic_tools=settings.get("dynamicTools") or (),
    )


def emit(transcript: Transcript, item_id: str, method: str, params: dict[str, Any]) -> None:
    """Publish a notification of a running item; output goes into what followers see of it."""
    if method == OUTPUT_DELTA:
        transcript.say_delta(method, item_id, params["delta"])
        faults.at("mid_command")
    else:
        transcript.say(method, {"itemId": item_id, **params})


def say_diff(turn: Running, ctx: ToolContext) -> None:
    """turn/diff/updated, when patches of this turn changed something."""
    calls = [
        row.item["changes"]
        for row in turn.transcript.turn_rows()
        if row.kind == "fileChange" and row.item and row.item["status"] == "completed"
    ]
    if calls:
        turn.transcript.say("turn/diff/updated", {"diff": apply_patch.turn_diff(calls, ctx)})


def complete_ended_commands(turn: Running) -> None:
    """Commands that went on behind a call and have ended since."""
    for ended in turn.sessions.reap():
        turn.transcript.complete_later(ended.item_id, ended.item)


def end_commands(turn: Running, reason: str) -> None:
    """No session outlives the turn's stay in this worker; the model is told. Errors: ClaimLost."""
    told = []
    for ended in turn.sessions.close_all(reason):
        turn.transcript.complete_later(ended.item_id, ended.item)
        told.append(ended.told)
    if told:
        turn.transcript.add_context([prompt.message("developer", "\n\n".join(told))])


def close_calls(turn: Running, why: str) -> None:
    """Keep what the user said, and answer the calls that a turn leaves open, truthfully."""
    turn.transcript.load()
    turn.transcript.add_letters()
    for row in turn.transcript.open_calls():
        told = UNKNOWN_OUTCOME if row.begun_at_ms is not None else f"{why} This call was not run."
        turn.transcript.end_call(row, refused(row.item, told, "failed"))
        name, text = asked_for(row)
        began_at = time.monotonic() - max(0, now_ms() - (row.begun_at_ms or now_ms())) / 1000
        telemetry.tool_ended(name, str(row.call_id), text, told, began_at, success=False)
    exit_review(turn, f"The review did not come to its end. {why}")
