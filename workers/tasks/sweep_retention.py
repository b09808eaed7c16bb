"""retention.sweep: remove what nobody will ask for again. Rung by beat once an hour."""

from __future__ import annotations

import logging

from workers.services import Services

logger = logging.getLogger(__name__)


def run(services: Services) -> None:
    """Threads that never got a turn, and ephemeral ones, 30 minutes after their last use; archives after a day; what
    webhooks were told.

    Twice: harmless
    """
    removed = services.store.threads.all_users_sweep_unused()
    for thread_id, _ in removed:
        services.log.delete(thread_id)
    services.store.outbox.sweep()
    if removed:
        logger.info("removed unused threads", extra={"threads": len(removed)})
    if expired := services.store.archives.all_users_expire():
        logger.info("removed archives that no thread was started from", extra={"archives": expired})
