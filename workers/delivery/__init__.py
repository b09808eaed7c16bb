"""Delivery of events to the outside: one attempt at a webhook, one run of the notify program.

Which events are due, and when one is retried, is decided by workers.tasks.deliver_notify and the store's outbox.
"""
