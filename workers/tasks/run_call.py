"""call.run: do something in a workspace for a client that waits."""

from __future__ import annotations

import logging
from typing import Any

from shared.errors import CallLost, InvalidRequest, NotFound, RequestError, ToolError, Unavailable
from workers.calls import KINDS
from workers.calls.running import RunningCall
from workers.services import Services

logger = logging.getLogger(__name__)


def run(services: Services, call_id: str, kind: str, params: dict[str, Any], owner: str) -> None:
    """Answer one call over its channel.

    Takes:    all there is: a call is not stored
    Leaves:   its result or error told to who waits for it
    Twice:    does not happen; a call that expired in the queue, or that nobody waits for any more, is not run
    Retries:  none; its caller sees that the worker was lost
    """
    call = RunningCall(call_id, owner, services.calls.answer(call_id))
    try:
        if services.calls.enter(call):
            call.answer.result(KINDS[kind](services.config, call, params))
    except Exception as error:
        told = refusal(error)
        if told is None:
            logger.exception("call failed", extra={"kind": kind, "call_id": call_id})
        call.answer.error(told or error)
    finally:
        services.calls.leave(call)


def refusal(error: Exception) -> Exception | None:
    """What the client is told; None: it is a fault of ours."""
    if isinstance(error, RequestError | Unavailable | CallLost):
        return error
    if isinstance(error, ToolError):
        return InvalidRequest(str(error))
    if isinstance(error, OSError) and error.errno is not None:  # without the path: it may be one of our own
        kind = NotFound if isinstance(error, FileNotFoundError) else InvalidRequest
        return kind(f"{error.strerror} (os error {error.errno})")
    return None
