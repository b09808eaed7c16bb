"""A client's answer to a server request: store it, publish it, enqueue the turn."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import redis
from kombu.exceptions import OperationalError

from api.access.caller import Caller
from api.delivery.connection import Connection
from api.delivery.frames import notification
from api.requests.services import Services
from api.transport.error_codes import wire_error
from shared.event_names import request_key
from shared.events import durable_events
from shared.protocol.turn import turn_error
from shared.store.approvals import decision_word
from shared.store.turns import Turn

logger = logging.getLogger(__name__)

MAX_REQUEST_ID = 2**63 - 1  # the range of the store's request ids
NAME = "serverRequest/respond"


def handle_response(services: Services, connection: Connection, message: Mapping[str, Any]) -> None:
    """Handle a response frame. One for an unknown or resolved request is dropped silently (PROTOCOL section 9).

    An answer that cannot be stored is reported to its sender alone, as an `error` notification. Errors: Closed
    """
    if "result" in message:
        result = message["result"]
        answer = result if isinstance(result, dict) else {"error": {"message": "the result is not an object"}}
    elif "error" in message:
        answer = {"error": message["error"]}
    else:
        return
    try:
        store_answer(services, connection.caller, message["id"], answer)
    except Exception as error:  # noqa: BLE001 - the edge of an answer: error_codes logs an unexpected error
        report_not_stored(connection, message["id"], error)


def report_not_stored(connection: Connection, request_id: int, error: Exception) -> None:
    """Send an `error` notification about an answer. Its turn goes on, hence `willRetry`. Errors: Closed."""
    message = (
        f"your answer to request {request_id} was not stored: {wire_error(error, NAME).message}. "
        "The request is still open; answer it again"
    )
    thread_id, turn_id = connection.find_delivered(request_key(request_id)) or ("", "")
    shown = turn_error(message, "internalServerError")
    params = {"threadId": thread_id, "turnId": turn_id, "error": shown, "willRetry": True}
    connection.send([notification("error", params)])


def store_answer(services: Services, caller: Caller, request_id: int, answer: dict[str, Any]) -> Turn | None:
    """Store the first answer to a server request, publish that it is resolved, and enqueue the turn.

    Returns: the turn; None when no turn waits for this answer
    Errors:  those of the database: the answer was not stored
    """
    if not 0 <= request_id <= MAX_REQUEST_ID:
        return None
    audit_entry = caller.audit_entry(NAME).with_detail(decision_word(answer))
    turn = services.store.turns.answer(request_id, caller.user_id, answer, audit_entry=audit_entry)
    if turn is None or turn.phase == "running":  # a running turn's worker waits for the answer and publishes the rest
        return turn
    try:
        try:
            durable_events.publish_missing(services.store, services.events, turn)
        finally:
            services.queue.enqueue_turn(turn.id)
            if services.config.webhooks:
                services.queue.enqueue_delivery()
    except (redis.RedisError, OperationalError) as error:
        logger.warning("Redis does not answer, answer left to the sweep: %s", error, extra={"turn_id": turn.id})
    except Exception:
        logger.exception("answer not published, leaving it to the sweep", extra={"turn_id": turn.id})
    return turn
