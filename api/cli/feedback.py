"""threadhouse feedback: list, show and retry the reports of all users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click
import orjson

from api.cli.host import format_time, host_store, json_option
from api.cli.options import home_option

if TYPE_CHECKING:
    from shared.store.feedback import Report


@click.group()
def feedback() -> None:
    """List, show and retry the feedback reports of users."""


@feedback.command("list")
@click.option(
    "--status",
    type=click.Choice(["received", "processing", "delivered", "failed"]),
    help="List only reports in this state.",
)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Maximum number of entries.")
@json_option
@home_option
def list_(status: str | None, limit: int, as_json: bool) -> None:
    """List reports, newest first."""
    from shared.store.feedback import STATUSES

    with host_store() as store:
        for report in store.feedback.all_users_list([status] if status else STATUSES, limit):
            if as_json:
                click.echo(orjson.dumps(_object(report)))
            else:
                time = format_time(report.created_at_ms)
                click.echo(" ".join((time, report.id, report.status, report.classification)))


@feedback.command()
@click.argument("feedback_id", metavar="ID")
@click.option("--content", is_flag=True, help="Also show the collected data as JSON, if the database has it.")
@json_option
@home_option
def show(feedback_id: str, content: bool, as_json: bool) -> None:
    """Show the report ID."""
    from shared.store.audit import AuditEntry

    with host_store() as store:
        shown = _object(store.feedback.all_users_get(feedback_id))
        store.audit.append(AuditEntry.of_operator("feedback show"), subject_id=feedback_id)
        collected = store.feedback.all_users_content(feedback_id) if content else None
    if as_json:
        click.echo(orjson.dumps({**shown, "content": collected} if content else shown))
        return
    for name, value in shown.items():
        if value is not None:
            click.echo(f"{name}: {format_time(value) if isinstance(value, int) and name.endswith('AtMs') else value}")
    if content:
        click.echo(orjson.dumps(collected, option=orjson.OPT_INDENT_2))


@feedback.command()
@click.argument("feedback_id", metavar="ID")
@home_option
def retry(feedback_id: str) -> None:
    """Retry the failed report ID. A worker processes it within seconds."""
    from shared.store.audit import AuditEntry

    with host_store() as store:
        store.feedback.all_users_retry(feedback_id, audit_entry=AuditEntry.of_operator("feedback retry"))
    click.echo(f"{feedback_id} is queued again")


def _object(report: Report) -> Mapping[str, object]:
    """Return a report with the names that its members have in feedback/read, and its owner."""
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
