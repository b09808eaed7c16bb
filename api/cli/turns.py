"""threadhouse turns and turn: what runs and waits, why, and the timeline of one turn."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import click
import orjson

from api.cli.host import connect_redis, duration, format_time, host_store, json_option, show, user_names
from api.cli.options import home_option
from shared import config as configuration
from shared.clock import now_ms
from shared.errors import InvalidRequest

if TYPE_CHECKING:
    from shared.config import Config
    from shared.store import Store
    from shared.store.turns import Turn
    from shared.store.turns.open_turns import OpenTurn


@click.command()
@click.option("--state", type=click.Choice(["queued", "running", "parked"]), help="Only turns in this state.")
@click.option("--user", "user_name", metavar="NAME", help="Only turns of this user.")
@click.option("--worker", metavar="NAME", help="Only turns of workers whose name begins so.")
@click.option(
    "--older",
    "older_ms",
    metavar="AGE",
    callback=duration,
    help="Only turns whose cause began longer ago: 5m.",
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Maximum number.")
@json_option
@home_option
def turns(
    state: str | None, user_name: str | None, worker: str | None, older_ms: int | None, limit: int, as_json: bool
) -> None:
    """List the turns that are not done, and why each one waits; the longest waiting first."""
    config = configuration.load(None, os.environ)
    with host_store() as store:
        owner = store.users.get(user_name).id if user_name else None
        found = store.open_turns.all_users_list(
            turns_at_once=config.limits.turns_at_once, owner=owner, phase=state, worker=worker, limit=limit
        )
        names = user_names(store)
    before_ms = now_ms() - (older_ms or 0)
    show([_row(turn, names, as_json) for turn in found if turn.since_ms <= before_ms], as_json)


@click.command()
@click.argument("turn_id", metavar="ID")
@click.argument("action", type=click.Choice(["show", "stop", "requeue"]), metavar="[show|stop|requeue]", default="show")
@json_option
@home_option
def turn(turn_id: str, action: str, as_json: bool) -> None:
    """Show the turn ID: its state, why it waits, its timeline and its log lines.

    stop interrupts it, as its user would. requeue takes it from its worker and lets another one go on with it.
    """
    from shared.logs import turn_logs
    from shared.store.turns.open_turns import with_failed_call

    config = configuration.load(None, os.environ)
    with host_store() as store:
        found = store.open_turns.all_users_find(turn_id)
        if found is None:
            raise click.ClickException(f"no turn {turn_id}: see `threadhouse turns`")
        row, moments = found
        if action != "show":
            click.echo(_ACTIONS[action](store, row))
            return
        standing = store.open_turns.all_users_list(turns_at_once=config.limits.turns_at_once, turn_id=turn_id)
        names = user_names(store)
    lines = _log_lines(config, row)
    standing = [with_failed_call(one, turn_logs.failed_call(lines)) for one in standing]
    facts = {
        "id": row.id,
        "thread": row.thread_id,
        "user": names.get(row.owner, row.owner),
        "state": row.phase if not row.done else row.status,
        "worker": standing[0].worker if standing else None,
        "lost_workers": standing[0].lost_attempts if standing else None,
        "cause": standing[0].cause if standing else None,
        "why": standing[0].why if standing else None,
    }
    if as_json:
        timeline = [{"at_ms": moment.at_ms, "what": moment.what} for moment in moments]
        click.echo(orjson.dumps({**facts, "timeline": timeline, "log": lines}).decode())
        return
    for name, value in facts.items():
        if value is not None and name != "cause":
            click.echo(f"{name.replace('_', ' '):13} {value}")
    click.echo()
    for moment in moments:
        click.echo(f"{format_time(moment.at_ms)}  {moment.what}")
    click.echo()
    for line in lines:
        click.echo(line)


def _stop(store: Store, row: Turn) -> str:
    from shared.store.audit import AuditEntry

    try:
        audit_entry = AuditEntry.of_operator("turn stop")
        stopped = store.turns.interrupt(row.thread_id, row.owner, row.id, audit_entry=audit_entry)
    except InvalidRequest as error:
        raise click.ClickException(f"not stopped: {error}") from None
    if stopped.done:
        return "stopped"
    return "its worker is asked to stop it, which takes some seconds"


def _requeue(store: Store, row: Turn) -> str:
    import redis

    from shared.events import turn_signals
    from shared.store.audit import AuditEntry

    if not store.open_turns.all_users_requeue(row.id, audit_entry=AuditEntry.of_operator("turn requeue")):
        raise click.ClickException("not requeued: no worker runs it, see `threadhouse turn ID`")
    with suppress(redis.RedisError), connect_redis(configuration.load(None, os.environ)) as client:
        turn_signals.publish(client, turn_signals.REQUEUED, row.id)
    return (
        "queued again for the next worker. A tool call that has begun is not repeated; "
        "its command is ended, unless its worker hangs"
    )


_ACTIONS: dict[str, Callable[[Store, Turn], str]] = {"stop": _stop, "requeue": _requeue}


def _row(turn: OpenTurn, names: dict[str, str], as_json: bool) -> dict[str, object]:
    row: dict[str, object] = {
        "id": turn.turn.id,
        "user": names.get(turn.turn.owner, turn.turn.owner),
        "state": turn.turn.phase,
        "since_ms": turn.since_ms,
        "worker": turn.worker,
    }
    if as_json:
        row |= {"thread": turn.turn.thread_id, "lost_workers": turn.lost_attempts, "cause": turn.cause}
    return {**row, "why": turn.why}


def _log_lines(config: Config, row: Turn) -> list[str]:
    """Return the log lines of a turn that Redis still has, oldest first."""
    import redis

    from shared.logs import turn_logs

    try:
        with connect_redis(config) as client:
            return turn_logs.read(client, [row.id])
    except redis.RedisError as error:
        return [f"(no log lines: Redis does not answer: {type(error).__name__})"]
