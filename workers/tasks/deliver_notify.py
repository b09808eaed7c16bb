"""notify.deliver: tell webhooks and the notify program what is due."""

from __future__ import annotations

import logging
import random

from shared.store.outbox import Outgoing
from shared.webhooks import NOTIFY, Webhook
from workers import notify, webhooks
from workers.agent import faults
from workers.services import Services

logger = logging.getLogger(__name__)

AT_ONCE = 4  # attempts under way of one target, in the whole deployment
LEASE_SECONDS = 5.0  # beyond twice the time that an attempt may take
JITTER = 0.1  # of a wait, so that what failed together is not tried again together


def run(services: Services) -> None:
    """Claim and tell until nothing is due that may be tried.

    Twice:    harmless; only the delivery that claims a row tells it
    Retries:  a webhook by its schedule, also when a worker died; a program never, it may have begun
    """
    server = services.config.server
    receivers = {one.url: one for one in services.config.webhooks}
    lease_seconds = 2 * max(server.webhook_timeout_seconds, server.notify_timeout_seconds) + LEASE_SECONDS
    if not services.config.notify:
        lease_seconds = 2 * server.webhook_timeout_seconds + LEASE_SECONDS
    while not services.draining.is_set():
        outgoing = services.store.outbox.claim(lease_ms=round(lease_seconds * 1000), at_once=AT_ONCE)
        if outgoing is None:
            return
        if outgoing.target == NOTIFY:
            run_program(services, outgoing)
        else:
            tell(services, receivers[outgoing.target], outgoing)


def run_program(services: Services, outgoing: Outgoing) -> None:
    """The claim has stored that it begins: whatever happens here, it is not run again."""
    faults.at("before_notify")
    config = services.config
    told = notify.argument(services.store, outgoing)
    if told is None:
        return services.store.outbox.settle(outgoing, "its thread was deleted")
    timeout_s = config.server.notify_timeout_seconds
    problem = notify.run(config.notify, told, config.home, timeout_s, services.draining)
    if problem is not None:
        logger.warning("notify: %s: %s", config.notify[0], problem, extra={"turn_id": told["turn-id"]})
    faults.at("after_notify")
    return services.store.outbox.settle(outgoing, problem)


def tell(services: Services, webhook: Webhook, outgoing: Outgoing) -> None:
    """One attempt, and when the next one is."""
    faults.at("before_webhook")
    problem = webhooks.send(webhook, outgoing, services.config.server.webhook_timeout_seconds)
    faults.at("after_webhook")
    waits = services.config.server.webhook_retry_seconds
    retry_in_ms = None
    if problem is not None and outgoing.attempts <= len(waits):
        retry_in_ms = round(waits[outgoing.attempts - 1] * 1000 * random.uniform(1, 1 + JITTER))
    services.store.outbox.settle(outgoing, problem, retry_in_ms)
    if problem is not None:
        what = "given up" if retry_in_ms is None else f"tried again in {retry_in_ms / 1000:.0f} s"
        where = f"webhook {webhook.host}, {outgoing.event} {outgoing.id}, attempt {outgoing.attempts}"
        logger.warning("%s: %s; %s", where, problem, what)
