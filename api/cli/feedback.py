"""threadhouse feedback: what users reported, on the host and of everybody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import orjson

from api.cli.options import home_option
from shared import config as configuration

if TYPE_CHECKING:
    from shared.store import Store
    from shared.store.feedback import Report

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.group()
def feedback() -> None:
    """What users reported, and how far its processing has come."""


@contextmanager
def _store() -> Iterator[Store]:
    from shared.store import Store

    config = configuration.load(None, os.environ)
    store = Store(config.database_url, config.listeners)
    try:
        yield store
    finally:
        store.close()


@feedback.command("list")
@click.option("--status", type=click.Choice(["received", "processing", "delivered", "failed"]), help="Only these.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@json_option
@home_option
def list_(status: str | None, limit: int, as_json: bool) -> None:
    """List reports, newest first."""
    from shared.store.feedback import STATUSES

    with _store() as store:
        for report in store.feedback.all_users_list([status] if status else STATUSES, limit):
            if as_json:
                click.echo(orjson.dumps(_object(report)))
            else:
                click.echo(" ".join((_time(report.created_at_ms), report.id, report.status, report.classification)))


@feedback.command()
@click.argument("feedback_id", metavar="ID")
@click.option("--content", is_flag=True, help="Also what was collected for it, where the database keeps it (as JSON).")
@json_option
@home_option
def show(feedback_id: str, content: bool, as_json: bool) -> None:
    """Show the report ID."""
    from shared.store.audit import Act

    with _store() as store:
        shown = _object(store.feedback.all_users_get(feedback_id))
        store.audit.append(Act.of_operator("feedback show"), subject_id=feedback_id)
        collected = store.feedback.all_users_content(feedback_id) if content else None
    if as_json:
        click.echo(orjson.dumps(shown | ({"content": collected} if content else {})))
        return
    for name, value in shown.items():
        if value is not None:
            click.echo(f"{name}: {_time(value) if name.endswith('AtMs') else value}")
    if content:
        click.echo(orjson.dumps(collected, option=orjson.OPT_INDENT_2))


@feedback.command()
@click.argument("feedback_id", metavar="ID")
@home_option
def retry(feedback_id: str) -> None:
    """Have the failed report ID processed again; a worker takes it within seconds."""
    from shared.store.audit import Act

    with _store() as store:
        store.feedback.all_users_retry(feedback_id, act=Act.of_operator("feedback retry"))
    click.echo(f"{feedback_id} is received again")


def _object(report: Report) -> dict[str, Any]:
    return {
        "id": report.id,
        "status": report.status,
        "error": report.error,
        "duplicateOf": report.duplicate_of,
        "userId": report.owner,
        "threadId": report.thread_id,
        "classification": report.classification,
        "reason": report.reason,
        "tags": report.tags,
        "includeLogs": report.include_logs,
        "attempts": report.attempts,
        "createdAtMs": report.created_at_ms,
        "changedAtMs": report.changed_at_ms,
    }


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
