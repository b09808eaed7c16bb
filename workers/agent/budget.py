"""Token budgets: room for a model call is reserved before it, and what it took is counted after it.

Every answer counts: of turns, compactions, reviews and title threads. One that breaks off counts by estimate, for the
provider counts it too and tells nobody. Without a budget nothing is asked of the database here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

import orjson

from shared.catalogue import max_answer_tokens
from shared.config import SCRIPTED
from shared.errors import ModelError
from shared.protocol.rate_limits import UPDATED, periods, snapshot, told_reset
from shared.protocol.turn import turn_error
from shared.store.usage import Budget, Standing
from workers.agent.signal import Why
from workers.agent.stops import TurnFailed, raise_if_called
from workers.models.chunks import Chunk, Closed, Prompt, ReasoningDelta, SummaryDelta, TextDelta, Usage
from workers.sandbox.output import count_tokens

if TYPE_CHECKING:
    from workers.agent.loop import Running

WAIT_FIRST_SECONDS = 0.1  # for calls of the user's other turns to give back what they do not need; doubles
WAIT_MOST_SECONDS = 2.0
IMAGE_TOKENS = 1500  # about what an image takes, however many bytes it has
_IMAGE = re.compile(rb'"data:image/[^"]*"')


def of(turn: Running) -> Budget:
    """What the turn's user may spend, as of the step that began last. The scripted model costs nothing."""
    if turn.transcript.settings["modelProvider"] == SCRIPTED:
        return Budget()
    own, limits = turn.transcript.own_budget, turn.config.limits
    return Budget(
        limits.tokens_per_day if own[0] is None else own[0], limits.tokens_per_month if own[1] is None else own[1]
    )


def open_call(turn: Running, request: Prompt) -> Call | None:
    """A model call for which there is room. None: the turn was called to something while it waited for that.

    Errors: TurnFailed (usageLimitExceeded), ClaimLost, those of workers.agent.stops
    """
    budget = of(turn)
    if not budget:
        return Call(turn, request)
    most, wait_s = max_answer_tokens(request.model), WAIT_FIRST_SECONDS
    input_tokens = estimate_input(request)
    while True:
        held = turn.store.usage.reserve(turn.transcript.claim, budget, input_tokens, most)
        tell(turn, held.standing, budget)
        if held.answer_tokens:
            turn.transcript.reserved = True
            clipped = held.answer_tokens < most
            return Call(turn, replace(request, max_answer_tokens=held.answer_tokens) if clipped else request)
        if not held.comes_back:
            raise TurnFailed(used_up(held.standing, budget))
        called = turn.signal.wait(wait_s)
        raise_if_called(turn.signal)
        if called and Why.STEER in turn.signal:
            return None
        wait_s = min(WAIT_MOST_SECONDS, wait_s * 2)


class Call:
    """One model call, as a context. request: what to send; it says so when the answer must be shorter than usual."""

    def __init__(self, turn: Running, request: Prompt) -> None:
        self.request = request
        self._turn = turn
        self._begun = False
        self._characters = 0  # of the answer so far
        self._reported = 0  # tokens, as the model counted them

    def metered(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """The same chunks; what came is noted."""
        for chunk in chunks:
            self._begun = True
            match chunk:
                case TextDelta() | SummaryDelta() | ReasoningDelta():
                    self._characters += len(chunk.text)
                case Closed({"type": "function_call" | "custom_tool_call"} as item):
                    self._characters += len(str(item.get("arguments") or item.get("input")))
                case Usage():
                    self._reported = chunk.spent
            yield chunk

    def __enter__(self) -> Call:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """What was reported is stored with the answer. Errors: TurnFailed (the answer filled the room there was)."""
        if not self._reported:
            scripted = self._turn.transcript.settings["modelProvider"] == SCRIPTED
            took = estimate_input(self.request) + count_tokens(self._characters)
            self._turn.transcript.spend(took if self._begun and not scripted else 0)
        if isinstance(error, ModelError) and error.cut_short and self.request.max_answer_tokens is not None:
            budget = of(self._turn)
            self._turn.transcript.settle()
            standing = self._turn.store.usage.standing(self._turn.transcript.claim.owner)
            raise TurnFailed(used_up(standing, budget)) from error


def tell(turn: Running, standing: Standing, budget: Budget) -> None:
    """Tell clients where the user stands when that has changed, and warn once when most of a budget is gone."""
    shown = snapshot(standing, budget)
    if shown != turn.rate_limits_told:
        turn.rate_limits_told = shown
        turn.transcript.say(UPDATED, {"rateLimits": shown})
    for period, spent, cap in periods(standing, budget):
        percent = turn.config.limits.warn_percent
        if spent * 100 >= cap * percent and period not in standing.warned | turn.warned:
            turn.warned.add(period)
            if turn.store.usage.mark_warned(turn.transcript.claim.owner, period):
                reset = told_reset(standing, period)
                message = f"{spent * 100 // cap} % of this {period}'s token budget is used ({spent} of {cap} tokens)"
                turn.transcript.say("warning", {"message": f"{message}; it resets at {reset}."})


def tell_now(turn: Running) -> None:
    """The same, with what the last answer took."""
    if budget := of(turn):
        turn.transcript.settle()
        tell(turn, turn.store.usage.standing(turn.transcript.claim.owner), budget)


def used_up(standing: Standing, budget: Budget) -> dict[str, object]:
    """TurnError: which budget is gone, and until when."""
    period, spent, cap = min(periods(standing, budget), key=lambda one: one[2] - one[1])
    left = f"{spent} of {cap} tokens are spent, and what is left is not enough to ask the model again"
    message = f"You have reached this {period}'s token budget: {left}. It resets at {told_reset(standing, period)}."
    return turn_error(message, "usageLimitExceeded")


def estimate_input(request: Prompt) -> int:
    """About how many tokens a request takes, rather more than less."""
    raw = orjson.dumps([request.input, request.tools])
    without_images, images = _IMAGE.subn(b'""', raw)
    return count_tokens(len(without_images)) + images * IMAGE_TOKENS
