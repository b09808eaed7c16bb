"""threadhouse audit: show who did what, when and from which address; the log has ids and no content."""

from __future__ import annotations

import dataclasses
from functools import partial

import click

from api.cli.host import duration, host_store, json_option, show
from api.cli.options import home_option
from shared.clock import now_ms


@click.command()
@click.option(
    "--user",
    metavar="NAME",
    help="Show only entries of this user; `operator`: of commands on a host; `local`: of the time without users.",
)
@click.option("--thread", metavar="ID", help="Show only entries about this thread.")
@click.option("--action", metavar="METHOD", help="Show only this action, such as turn/start or 'keys revoke'.")
@click.option(
    "--since", callback=duration, metavar="7d", help="Show only entries of this last time: a number and d, h, m or s."
)
@json_option
@home_option
def audit(user: str | None, thread: str | None, action: str | None, since: int | None, as_json: bool) -> None:
    """List the entries of the audit log, oldest first."""
    from shared.store.audit import OPERATOR
    from shared.store.users import LOCAL_USER

    with host_store() as store:
        next_page = partial(
            store.audit.all_users_page,
            owner=user if user in (None, OPERATOR, LOCAL_USER) else store.users.get(str(user)).id,
            thread_id=thread,
            action=action,
            since_ms=0 if since is None else now_ms() - since,
        )
        names = {account.user.id: account.user.name for account in store.users.accounts()}
        after_id = 0
        while page := next_page(after_id=after_id):
            after_id = page[-1].id
            rows = [dataclasses.asdict(row) for row in page]
            if not as_json:  # for people: the time first, and users by name
                rows = [
                    {"at_ms": row.pop("at_ms"), **row, "owner": names.get(row["owner"], row["owner"])} for row in rows
                ]
            show(rows, as_json)
