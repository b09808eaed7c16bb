"""threadhouse workers: the worker processes and what they do."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

import click

from api.cli.host import host_store, json_option, show
from api.cli.options import home_option
from shared import config as configuration

if TYPE_CHECKING:
    from shared.store.workers import SeenWorker


@click.command()
@json_option
@home_option
def workers(as_json: bool) -> None:
    """List the worker processes: state, turns, queues and version. Lost ones stay in the list for a day."""
    config = configuration.load(None, os.environ)
    with host_store() as store:
        seen = store.workers.all_users_list()
        running = store.open_turns.all_users_list(turns_at_once=config.limits.turns_at_once, phase="running")
    turns = Counter(turn.worker for turn in running)
    show([_row(worker, turns[worker.worker.name]) for worker in seen], as_json)


def _row(seen: SeenWorker, turns: int) -> dict[str, object]:
    worker = seen.worker
    return {
        "name": worker.name,
        "state": "lost" if seen.lost else "draining" if worker.draining else "broken" if worker.problem else "ready",
        "turns": turns,
        "slots": worker.slots,
        "queues": ",".join(worker.queues),
        "version": worker.version,
        "started_at_ms": seen.started_at_ms,
        "seen_at_ms": seen.seen_at_ms,
        "problem": worker.problem,
    }
