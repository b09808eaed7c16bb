"""workspace.make: make a thread's workspace before its first turn needs it, so that a fork is of this moment."""

from __future__ import annotations

import logging

from shared.errors import ClaimLost, NotFound
from workers.services import Services
from workers.sources import making

logger = logging.getLogger(__name__)


def run(services: Services, thread_id: str, owner: str) -> None:
    """Make it.

    Leaves:   it in its place, or the reason why not with the thread; the first turn tries again
    Twice:    harmless
    Retries:  none
    """
    try:
        making.make(services.config, services.store, thread_id, owner)
    except (making.Failed, NotFound, ClaimLost) as error:
        logger.info("a workspace was not made: %s", error, extra={"thread_id": thread_id})
