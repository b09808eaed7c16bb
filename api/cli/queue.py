"""threadhouse queue: what waits for workers, and why it does not move."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from api.cli.host import connect_redis, host_store, json_option, show
from api.cli.options import home_option
from shared import config as configuration

if TYPE_CHECKING:
    from shared.queue_state import Waiting


@click.command()
@json_option
@home_option
def queue(as_json: bool) -> None:
    """Show what waits in each queue: its workers, its tasks in Redis, the work, the oldest of it, and why it waits.

    A dash for tasks means that Redis does not answer. Turns, messages and the like wait in the database, so they are
    done even when a task gets lost.
    """
    from shared.queue_state import read_queues

    config = configuration.load(None, os.environ)
    with host_store() as store, connect_redis(config) as client:
        found = read_queues(store, client, config)
    show([_row(one) for one in found], as_json)


def _row(one: Waiting) -> dict[str, object]:
    return {
        "queue": one.queue,
        "workers": one.workers,
        "tasks": one.tasks,
        "work": one.kind,
        "waiting": one.count,
        "since_ms": one.since_ms,
        "cause": one.cause,
        "why": one.why,
    }
