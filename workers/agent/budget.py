"""Token budgets: tokens for a model call are reserved before it, and what it used is counted after it.

Every answer counts: of turns, compactions, reviews and title threads. An answer that breaks off counts by estimate,
because the provider counts it too without reporting it. Without a budget, nothing here reads the database.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import TracebackType

import orjson

from shared import telemetry
from shared.config import SCRIPTED
from shared.config.model_catalogue import max_answer_tokens
from shared.errors import ModelError
from shared.protocol.rate_limits import UPDATED
from shared.protocol.turn import TurnError, turn_error
from shared.store.usage import Budget, Spent, Standing
from shared.views.rate_limits import periods, reset_text, snapshot
from workers.agent.running_turn import RunningTurn
from workers.control.signal import StopReason
from workers.control.stops import TurnFailed, raise_if_stop_requested
from workers.models.chunks import Chunk, Closed, Prompt, ReasoningDelta, SummaryDelta, TextDelta, TokenUsage
from workers.sandbox.output import count_tokens

WAIT_FIRST_SECONDS = 0.1  # for the user's other model calls to return what they do not use; doubles
WAIT_MOST_SECONDS = 2.0
IMAGE_TOKENS = 1500  # about what an image takes, whatever its size in bytes

logger = logging.getLogger(__name__)

_IMAGE = re.compile(rb'"data:image/[^"]*"')


def budget_of(turn: RunningTurn) -> Budget:
    """Return what the turn's user may spend, as of the last step. The scripted model costs nothing."""
    if turn.transcript.settings["modelProvider"] == SCRIPTED:
        return Budget()
    own, limits = turn.transcript.own_budget, turn.config.limits
    return Budget(
        limits.tokens_per_day if own[0] is None else own[0], limits.tokens_per_month if own[1] is None else own[1]
    )


def open_call(turn: RunningTurn, request: Prompt) -> MeteredModelCall | None:
    """Reserve tokens for a model call, waiting for the user's other calls when they hold the rest of the budget.

    None:   input came in while the turn waited: the next step reads it first
    Errors: TurnFailed (usageLimitExceeded), ClaimLost, those of workers.control.stops
    """
    budget = budget_of(turn)
    if not budget:
        return MeteredModelCall(turn, request)
    most, wait_seconds = max_answer_tokens(request.model), WAIT_FIRST_SECONDS
    input_tokens = estimate_input(request)
    while True:
        reservation = turn.store.usage.reserve(turn.transcript.claim, budget, input_tokens, most)
        publish_standing(turn, reservation.standing, budget)
        if reservation.answer_tokens:
            turn.transcript.usage.reserved = True
            clipped = reservation.answer_tokens < most
            return MeteredModelCall(
                turn, replace(request, max_answer_tokens=reservation.answer_tokens) if clipped else request
            )
        if not reservation.comes_back:
            raise TurnFailed(budget_exceeded(reservation.standing, budget))
        if wait_seconds == WAIT_FIRST_SECONDS:
            ids = {"turn_id": turn.transcript.claim.turn_id}
            logger.info("budget reserved by other turns of the user, waiting", extra=ids)
        requested = turn.signal.wait(wait_seconds)
        raise_if_stop_requested(turn.signal)
        if requested and StopReason.STEER in turn.signal:
            return None
        wait_seconds = min(WAIT_MOST_SECONDS, wait_seconds * 2)


class MeteredModelCall:
    """One model call as a context manager that counts its cost, also when it breaks off.

    request: what to send; its max_answer_tokens is set when the budget allows only a shorter answer
    """

    def __init__(self, turn: RunningTurn, request: Prompt) -> None:
        self.request = request
        self._turn = turn
        self._begun = False
        self._characters = 0  # of the answer so far
        self._reported = 0  # tokens, as the model counted them

    def metered(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Yield the same chunks, counting them."""
        for chunk in chunks:
            self._begun = True
            match chunk:
                case TextDelta() | SummaryDelta() | ReasoningDelta():
                    self._characters += len(chunk.text)
                case Closed({"type": "function_call" | "custom_tool_call"} as item):
                    self._characters += len(str(item.get("arguments") or item.get("input")))
                case TokenUsage():
                    self._reported = chunk.spent
            yield chunk

    def __enter__(self) -> MeteredModelCall:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Count a call that reported no usage by estimate; reported usage is stored with the answer.

        Errors: TurnFailed (the answer was cut because it used up the budget)
        """
        transcript = self._turn.transcript
        if not self._reported:
            spent = None
            if self._begun and transcript.settings["modelProvider"] != SCRIPTED:
                taken, given = estimate_input(self.request), count_tokens(self._characters)
                spent = Spent(self.request.model, taken + given, input=taken, output=given)
            transcript.usage.spend(spent)
        if isinstance(error, ModelError) and error.cut_short and self.request.max_answer_tokens is not None:
            budget = budget_of(self._turn)
            transcript.writer.settle()
            standing = self._turn.store.usage.standing(transcript.claim.owner)
            raise TurnFailed(budget_exceeded(standing, budget)) from error


def publish_standing(turn: RunningTurn, standing: Standing, budget: Budget) -> None:
    """Publish how much of the budget is used, if that changed; warn once when most of a budget is used."""
    shown = snapshot(standing, budget)
    writer = turn.transcript.writer
    if shown != turn.published_rate_limits:
        turn.published_rate_limits = shown
        writer.publish(UPDATED, {"rateLimits": shown})
    for period, spent, cap in periods(standing, budget):
        percent = turn.config.limits.warn_percent
        if spent * 100 >= cap * percent and period not in standing.warned | turn.warned:
            turn.warned.add(period)
            if turn.store.usage.mark_warned(turn.transcript.claim.owner, period):
                reset = reset_text(standing, period)
                message = f"{spent * 100 // cap} % of this {period}'s token budget is used ({spent} of {cap} tokens)"
                writer.publish("warning", {"message": f"{message}; it resets at {reset}."})


def publish_current_standing(turn: RunningTurn) -> None:
    """Publish how much of the budget is used, with the last answer."""
    if budget := budget_of(turn):
        turn.transcript.writer.settle()
        publish_standing(turn, turn.store.usage.standing(turn.transcript.claim.owner), budget)


def budget_exceeded(standing: Standing, budget: Budget) -> TurnError:
    """Return the error that names the exceeded budget and when it resets, and count it."""
    period, spent, cap = min(periods(standing, budget), key=lambda one: one[2] - one[1])
    telemetry.limit_refused(f"tokens_per_{period}")
    left = f"{spent} of {cap} tokens are spent, and what is left is not enough to ask the model again"
    message = f"You have reached this {period}'s token budget: {left}. It resets at {reset_text(standing, period)}."
    return turn_error(message, "usageLimitExceeded")


def estimate_input(request: Prompt) -> int:
    """Return about how many tokens a request takes, rather more than less."""
    raw = orjson.dumps([request.input, request.tools])
    without_images, images = _IMAGE.subn(b'""', raw)
    return count_tokens(len(without_images)) + images * IMAGE_TOKENS
