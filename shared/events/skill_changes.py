"""skills/changed: a notification to all connections of a user that other skills are there. It is in no thread's log."""

from __future__ import annotations

import logging

import redis

from shared.clock import now_ms
from shared.event_names import user_channel
from shared.events.log import Event
from shared.protocol.skills import CHANGED

logger = logging.getLogger(__name__)


def publish(client: redis.Redis, owner: str) -> None:
    """Publish it to the connections of a user that are open now. Clients do without it while Redis is away."""
    event = Event(CHANGED, {"threadId": ""})  # an API process of an earlier release looks for the thread
    try:
        client.publish(user_channel(owner), f"{now_ms()}-0\t{CHANGED}\t\t\n".encode() + event.head() + b"\n")
    except redis.RedisError as error:
        logger.warning("skills/changed not published: %s", error, extra={"user_id": owner})
