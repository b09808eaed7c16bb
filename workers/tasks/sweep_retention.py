"""retention.sweep: remove what is past its retention."""

from __future__ import annotations

import logging

from shared import queue
from shared.clock import now_ms
from shared.event_names import thread_channel
from workers.services import Services
from workers.tasks import process_feedback

NAME = queue.SWEEP_RETENTION

logger = logging.getLogger(__name__)

CHANNELS_PER_QUERY = 500  # to Redis
DAY_MS = 24 * 60 * 60 * 1000


def run(services: Services) -> None:
    """Remove what is past its retention.

    Threads that never got a turn, and ephemeral threads, go 30 minutes after their last use unless a client follows
    them; archives go after a day; then delivered webhook events; the rest by the settings of `[retention]`.

    Redelivery:  harmless
    """
    store, retention = services.store, services.config.retention

    def before_ms(days: int) -> int:
        return now_ms() - days * DAY_MS

    store.outbox.sweep()
    store.workers.all_users_forget()
    keep_followed(services)
    removed = {
        "unused threads": store.threads.all_users_sweep_unused(),
        "archives that no thread was started from": store.archives.all_users_expire(),
    }
    if retention.threads_days:
        removed["old threads"] = store.threads.all_users_sweep_old(before_ms(retention.threads_days), archived=False)
    if retention.archived_threads_days:
        before = before_ms(retention.archived_threads_days)
        removed["old archived threads"] = store.threads.all_users_sweep_old(before, archived=True)
    if retention.feedback_days:
        before, removed["reports"] = before_ms(retention.feedback_days), 0
        while reports := store.feedback.all_users_old(before):
            process_feedback.remove(services, reports)
            removed["reports"] += len(reports)
    if retention.receipts_days:
        removed["receipts"] = store.erasures.all_users_forget(before_ms(retention.receipts_days))
    if retention.audit_days:
        removed["audit rows"] = store.audit.all_users_forget(before_ms(retention.audit_days))
    if any(removed.values()):
        logger.info("removed %s", ", ".join(f"{count} {what}" for what, count in removed.items() if count))
    services.queue.enqueue_erasure()


def keep_followed(services: Services) -> None:
    """Count threads that a client follows as used, however long no turn is started."""
    unused = services.store.threads.all_users_unused()
    for start in range(0, len(unused), CHANNELS_PER_QUERY):
        batch = unused[start : start + CHANNELS_PER_QUERY]
        followers = services.redis.pubsub_numsub(*map(thread_channel, batch))
        followed = [thread_id for thread_id, (_, count) in zip(batch, followers, strict=True) if count]
        if followed:
            services.store.threads.all_users_touch(followed)
