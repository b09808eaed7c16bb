"""threadhouse workers: the worker processes and what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.cli.host import host_store, json_option, show
from api.cli.options import home_option

if TYPE_CHECKING:
    from shared.store.workers import SeenWorker


@click.command()
@json_option
@home_option
def workers(as_json: bool) -> None:
    """List the worker processes: state, turns, queues and version. Lost ones stay in the list for a day."""
    with host_store() as store:
        seen = store.workers.all_users_list()
        turns = store.open_turns.all_users_running()
    show([_row(worker, turns.get(worker.worker.name, 0)) for worker in seen], as_json)


def _row(seen: SeenWorker, turns: int) -> dict[str, object]:
    worker = seen.worker
    return {
        "name": worker.name,
        "state": seen.state,
        "turns": turns,
        "slots": worker.slots,
        "queues": ",".join(worker.queues),
        "version": worker.version,
        "started_at_ms": seen.started_at_ms,
        "seen_at_ms": seen.seen_at_ms,
        "problem": worker.problem,
    }
