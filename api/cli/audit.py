"""threadhouse audit: who did what, when and from where; ids only."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from api.cli.host import duration, host_store, json_option, show
from api.cli.options import home_option

if TYPE_CHECKING:
    from shared.store import Store


@click.command()
@click.option("--user", metavar="NAME", help="What this user did; `operator`: what commands on a host did.")
@click.option("--thread", metavar="ID", help="What happened to this thread.")
@click.option("--action", metavar="METHOD", help="Such as turn/start or `keys revoke`.")
@click.option("--since", callback=duration, metavar="7d", help="No older than that: in days, h, m or s.")
@json_option
@home_option
def audit(user: str | None, thread: str | None, action: str | None, since: int | None, as_json: bool) -> None:
    """Show the audit log, oldest first. Rows are appended and never changed."""
    from shared.store.audit import OPERATOR

    with host_store() as store:
        wanted = {
            "owner": user if user in (None, OPERATOR) else store.users.by_name(str(user)).id,
            "thread_id": thread,
            "action": action,
            "since_ms": 0 if since is None else round(time.time() * 1000) - since,
        }
        names = {one.user.id: one.user.name for one in store.users.accounts()}
        for page in _pages(store, wanted):
            rows = [dataclasses.asdict(row) for row in page]
            if not as_json:
                rows = [
                    {"at_ms": row.pop("at_ms"), **row, "owner": names.get(row["owner"], row["owner"])} for row in rows
                ]
            show(rows, as_json)


def _pages(store: Store, wanted: dict[str, Any]) -> Iterator[list[Any]]:
    after_id = 0
    while page := store.audit.all_users_page(after_id=after_id, **wanted):
        yield page
        after_id = page[-1].id
