"""A client's answer to a question of ours → the store → the turn queued anew."""

from __future__ import annotations

import logging
from typing import Any

from api.caller import Caller
from api.context import Services
from shared import announcements
from shared.store.turns import Turn

logger = logging.getLogger(__name__)

MAX_REQUEST_ID = 2**63 - 1  # what the store numbers with


def receive(services: Services, caller: Caller, message: dict[str, Any]) -> None:
    """A response frame. One to an unknown or settled question is dropped without a word (PROTOCOL section 9)."""
    if "result" in message:
        result = message["result"]
        answer = result if isinstance(result, dict) else {"error": {"message": "the result is not an object"}}
    elif "error" in message:
        answer = {"error": message["error"]}
    else:
        return
    try:
        take(services, caller, message["id"], answer)
    except Exception:
        logger.exception("an answer was not taken", extra={"request_id": message["id"]})


def take(services: Services, caller: Caller, request_id: int, answer: dict[str, Any]) -> Turn | None:
    """Store the first answer to a question, tell everyone, queue the turn. None: nobody waits for this answer."""
    if not 0 <= request_id <= MAX_REQUEST_ID:
        return None
    act = caller.act("serverRequest/respond").with_detail(_decision(answer))
    turn = services.store.turns.answer(request_id, caller.user_id, answer, act=act)
    if turn is None:
        return None
    try:
        announcements.announce(services.store, services.events, turn)
    finally:
        services.queue.ring_turn(turn.id)
        if services.config.webhooks:
            services.queue.ring_outbox()
    return turn


def _decision(answer: dict[str, Any]) -> str:
    """One word of an answer: never its content."""
    decision = answer.get("decision")
    if isinstance(decision, dict) and decision:
        decision = next(iter(decision))
    if isinstance(decision, str):
        return decision[:64]
    return "error" if "error" in answer else "answered"
