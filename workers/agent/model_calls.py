"""Model calls of a turn: one answer, and the wait before a failed call is repeated.

May touch the transcript, the token budget and the model; runs no tool. A call that is cut or fails leaves the log as a
step would find it, so that the next step simply tries again.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

from shared import telemetry
from shared.errors import ModelError
from shared.protocol.settings import ThreadSettings
from shared.protocol.turn import error_kind, turn_error
from shared.store.users import LOCAL_USER
from workers.agent import budget, prompt, refused_items
from workers.agent.answer_recorder import record_answer
from workers.agent.mcp_servers import specs_for
from workers.agent.repeated_items import leave_out_repeated, said_before
from workers.agent.running_turn import RunningTurn
from workers.control.stops import TurnFailed
from workers.models import model_for
from workers.models.failures import LONGEST_RETRY_AFTER_SECONDS

RETRY_FIRST_SECONDS = 0.2  # before the first repetition of a broken stream; doubles
RETRY_MOST_SECONDS = 10.0
CONTEXT_EXCEEDED = "contextWindowExceeded"

logger = logging.getLogger(__name__)


def request_answer(turn: RunningTurn) -> bool:
    """Request an answer of the model and record it. False: it was cut or failed, and is requested again.

    Errors: TurnFailed (the model failed too often, or for good), those of budget.open_call
    """
    transcript, config = turn.transcript, turn.config
    claim, settings = transcript.claim, transcript.settings
    options = claim.turn.options
    began_at, counted_before = time.monotonic(), transcript.usage.current
    request = prompt.build(config, settings, transcript.rows, claim.thread_id, claim.turn_id, options, specs_for(turn))
    try:
        model = model_for(config, settings["modelProvider"])
        call = budget.open_call(turn, request)
        if call is None:
            return False
        with model_span(settings), call:
            chunks = call.metered(model.stream(call.request, turn.signal))
            if said := said_before(transcript.rows, claim.turn_id):
                chunks = leave_out_repeated(chunks, said)
            complete = record_answer(transcript, chunks, turn.context_window, planning=prompt.is_planning(settings))
    except ModelError as error:
        wait_to_retry(turn, error, request.input)
        return False
    if complete:
        turn.answered()
        duration_ms = round((time.monotonic() - began_at) * 1000)
        known = {"turn_id": claim.turn_id, "duration_ms": duration_ms}
        usage = transcript.usage.current
        if usage and usage is not counted_before:  # the model said what it took
            known |= {"input_tokens": usage["last"]["inputTokens"], "output_tokens": usage["last"]["outputTokens"]}
        logger.info("model answered", extra=known)
    return complete


def _texts(error: ModelError, owner: str) -> tuple[str, str | None]:
    """Return an error's message and details for the client; where the provider is, only the operator is told."""
    message, details = str(error), error.details
    if error.url is None or owner != LOCAL_USER:
        return message, details
    where = f", url: {error.url}"  # in the words of the original
    return (message + where, None) if details is None else (message, details + where)


def model_span(settings: ThreadSettings) -> AbstractContextManager[None]:
    return telemetry.span("model", "client", model=settings["model"], provider=settings["modelProvider"])


def wait_to_retry(turn: RunningTurn, error: ModelError, sent: Sequence[object] = ()) -> None:
    """Publish that the call will be repeated, and wait (PROTOCOL section 10). Errors: TurnFailed: it will not be.

    When the provider refuses items of the history, they are left out, and the call is repeated at once, but only once.
    sent: the input of the request, where an index in the refusal means one of its items
    """
    transcript = turn.transcript
    if not turn.has_left_out:
        replaced = refused_items.replacements(error, transcript.rows, sent, transcript.claim.turn_id)
        if replaced:
            turn.has_left_out = True
            transcript.replace_model_items(replaced)
            message = f"{len(replaced)} items of the history were left out: the model's provider refused them"
            transcript.writer.publish("warning", {"message": message})
            return
    message, details = _texts(error, transcript.claim.owner)
    provider = turn.config.model_providers.get(turn.transcript.settings["modelProvider"])
    most = provider.stream_max_retries if provider else 0
    turn.failures += 1
    asked_wait_seconds = error.retry_after_s or 0
    if not error.retryable or turn.failures > most or asked_wait_seconds > LONGEST_RETRY_AFTER_SECONDS:
        if error.info == CONTEXT_EXCEEDED:
            turn.transcript.usage.fill_window(turn.context_window)
        raise TurnFailed(turn_error(message, error.info, details))
    kind = error_kind(error.info)
    logger.warning(
        "model call failed, retrying: %s",
        kind,
        extra={"turn_id": transcript.claim.turn_id, "status": error.http_status},
    )
    cause = {"responseStreamDisconnected": {"httpStatusCode": error.http_status}}
    shown = turn_error(f"Reconnecting... {turn.failures}/{most}", cause, details or message)
    turn.transcript.writer.publish("error", {"error": shown, "willRetry": True})
    wait_seconds = min(RETRY_MOST_SECONDS, RETRY_FIRST_SECONDS * 2 ** (turn.failures - 1)) * random.uniform(0.9, 1.1)
    turn.signal.wait(max(wait_seconds, asked_wait_seconds))
