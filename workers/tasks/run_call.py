"""call.run: do something in a workspace for a waiting client."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from shared import queue
from shared.errors import (
    NO_FOLDERS,
    CallLost,
    InvalidRequest,
    NotFound,
    RequestError,
    SandboxUnavailable,
    ToolError,
    Unavailable,
)
from shared.store.users import LOCAL_USER
from workers.calls import HANDLERS, MCP_HANDLERS
from workers.calls.mcp import McpAccess
from workers.calls.running import RunningCall
from workers.services import Services

NAME = queue.RUN_CALL
logger = logging.getLogger(__name__)


def run(services: Services, call_id: str, kind: str, params: Mapping[str, object], owner: str) -> None:
    """Answer one worker call over its channel.

    Args:        the whole call, because calls are not stored
    Effect:      its result or error is published to its caller
    Redelivery:  does not happen; a call that expired in the queue, or whose caller no longer waits, is not run
    Retries:     none; its caller notices that the worker was lost
    """
    call = RunningCall(call_id, owner, services.calls.answer(call_id))
    try:
        if services.calls.enter(call):
            if (about_mcp := MCP_HANDLERS.get(kind)) is not None:
                access = McpAccess(services.config, services.store, services.mcp)
                call.answer.result(about_mcp(access, call, params))
            else:
                call.answer.result(HANDLERS[kind](services.config, call, params))
    except Exception as error:
        client_error = error_for_client(error, owner)
        if client_error is None:
            logger.exception("worker call failed", extra={"kind": kind, "call_id": call_id})
        call.answer.error(client_error or error)
    finally:
        services.calls.leave(call)


def error_for_client(error: Exception, owner: str) -> Exception | None:
    """Return the error that the client gets; None when it is a fault of the server."""
    if isinstance(error, SandboxUnavailable):
        logger.warning("%s", error)
        return Unavailable(str(error) if owner == LOCAL_USER else NO_FOLDERS)
    if isinstance(error, RequestError | Unavailable | CallLost):
        return error
    if isinstance(error, ToolError):
        return InvalidRequest(str(error))
    if isinstance(error, OSError) and error.errno is not None:  # without the path: it may be a path of the server
        kind = NotFound if isinstance(error, FileNotFoundError) else InvalidRequest
        return kind(f"{error.strerror} (os error {error.errno})")
    return None
