"""Services: what one API process holds, for the requests that it handles. api.app builds it."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from api.access.limits import RequestLimits
from api.delivery.relay import Relay
from shared.config import Config
from shared.events.log import EventLog
from shared.queue import Queue
from shared.redaction import Redaction
from shared.store import Store


@dataclass(frozen=True, slots=True)
class Services:
    """The configuration, clients and shared objects of one API process."""

    config: Config
    store: Store
    redis: redis.Redis
    events: EventLog
    queue: Queue
    relay: Relay
    limits: RequestLimits
    redaction: Redaction
