"""notify.deliver: send the events that are due to webhooks and the notify program."""

from __future__ import annotations

import logging
import random

from shared import queue
from shared.config.webhooks import NOTIFY, Webhook
from shared.store.outbox import Outgoing
from workers.control.fault_points import fault_point
from workers.delivery import notify_program, webhook_sender
from workers.services import Services

NAME = queue.DELIVER
logger = logging.getLogger(__name__)

AT_ONCE = 4  # concurrent attempts per target, in the whole deployment
LEASE_SECONDS = 5.0  # in addition to twice the time that an attempt may take
JITTER = 0.1  # share of a wait, so that events that failed together are not retried together


def run(services: Services) -> None:
    """Claim and send events until none is due.

    Redelivery:  harmless; only the delivery that claims a row sends it
    Retries:     a webhook by its schedule, also when a worker died; the program never, as it may have begun
    """
    server = services.config.server
    receivers = {webhook.url: webhook for webhook in services.config.webhooks}
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
            send_webhook(services, receivers[outgoing.target], outgoing)


def run_program(services: Services, outgoing: Outgoing) -> None:
    """Run the notify program once. The claim has stored that it begins, so it is never run again."""
    fault_point("before_notify")
    config = services.config
    argument = notify_program.build_argument(services.store, outgoing)
    if argument is None:
        return services.store.outbox.settle(outgoing, "its thread was deleted")
    timeout_s = config.server.notify_timeout_seconds
    problem = notify_program.run(config.notify, argument, config.home, timeout_s, services.draining)
    if problem is not None:
        logger.warning(
            "notify program failed: %s: %s", config.notify[0], problem, extra={"turn_id": argument["turn-id"]}
        )
    fault_point("after_notify")
    return services.store.outbox.settle(outgoing, problem)


def send_webhook(services: Services, webhook: Webhook, outgoing: Outgoing) -> None:
    """Send an event once, and schedule the next attempt if that fails."""
    fault_point("before_webhook")
    problem = webhook_sender.send(webhook, outgoing, services.config.server.webhook_timeout_seconds)
    fault_point("after_webhook")
    waits = services.config.server.webhook_retry_seconds
    retry_in_ms = None
    if problem is not None and outgoing.attempts <= len(waits):
        retry_in_ms = round(waits[outgoing.attempts - 1] * 1000 * random.uniform(1, 1 + JITTER))
    services.store.outbox.settle(outgoing, problem, retry_in_ms)
    if problem is not None:
        next_step = "giving up" if retry_in_ms is None else f"retrying in {retry_in_ms / 1000:.0f} s"
        event = f"{outgoing.event} {outgoing.id}, attempt {outgoing.attempts}"
        logger.warning("webhook delivery failed, %s: %s: %s: %s", next_step, webhook.host, event, problem)
