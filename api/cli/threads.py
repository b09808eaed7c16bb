"""threadhouse export and import: threads as Codex rollout files, read from and written to the database directly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from api.cli.host import host_store
from api.cli.options import home_option
from shared import config as configuration
from shared.config import Config
from shared.errors import Conflict, InvalidParams, InvalidRequest, NotFound

if TYPE_CHECKING:
    from shared.protocol.settings import SettingsChanges
    from shared.store import Store

# The settings that a thread gets from its rollout file, by their names in thread/start; those of a group are checked
# together.
SETTINGS = (
    ("cwd",),
    ("approvalPolicy",),
    ("approvalsReviewer",),
    ("sandboxPolicy",),
    ("model", "modelProvider"),
    ("effort",),
    ("summary",),
    ("personality",),
    ("baseInstructions",),
    ("developerInstructions",),
)


@click.command("export")
@click.argument("thread_id", metavar="ID")
@click.option(
    "-o",
    "--output",
    type=click.File("wb", lazy=True),
    default="-",
    metavar="FILE",
    help="File to write (default: stdout).",
)
@home_option
def export(thread_id: str, output: BinaryIO) -> None:
    """Write the ended turns of the thread ID as a rollout file.

    `codex resume` can read the file.
    """
    from shared import rollout
    from shared.store.audit import AuditEntry

    with host_store() as store:
        found = store.histories.all_users_find(thread_id)
        if found is None:
            raise NotFound(f"no thread {thread_id} in this database")
        store.audit.append(AuditEntry.of_operator("export"), thread_id=thread_id)
        output.writelines(rollout.write(*found, store.items.of_turn))


@click.command("import")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--owner", metavar="NAME", help="User who gets the thread; required when the server has users.")
@home_option
def import_(file: Path, owner: str | None) -> None:
    """Import a rollout FILE as a thread and print the thread's id.

    The id is the last word of the output. The thread keeps the id of the file; when a thread with that id exists, the
    import becomes a second thread with a new id. Settings that the owner may not use on this server are replaced by
    the server's defaults.
    """
    from api.requests import settings
    from shared import rollout
    from shared.store.audit import AuditEntry
    from shared.store.histories import with_fresh_ids

    config = configuration.load(None, os.environ)
    with host_store() as store:
        owner_id = _owner_id(store, owner)
        audit_entry = AuditEntry.of_operator("import")
        try:
            with file.open("rb") as lines:
                found = rollout.read(lines, owner_id)
        except InvalidRequest as error:
            raise InvalidRequest(f"{file}: {error}") from None
        overrides = _overrides(config, owner_id, found.thread.settings)
        for history in (found, with_fresh_ids(found)):
            chosen: Any = settings.defaults(config, owner_id, history.thread.id) | overrides
            try:
                store.histories.create(
                    replace(history, thread=replace(history.thread, settings=chosen)), audit_entry=audit_entry
                )
                break
            except Conflict as error:
                click.echo(f"{error}; importing it under a new id", err=True)
    click.echo(f"imported {len(history.turns)} turns: {history.thread.id}")


def _owner_id(store: Store, name: str | None) -> str:
    from shared.store.users import LOCAL_USER

    if name is not None:
        return store.users.get(name).id
    if store.users.exist():
        raise InvalidRequest("this server has users: name the one who gets the thread with --owner NAME")
    return LOCAL_USER


def _overrides(config: Config, owner_id: str, found: Mapping[str, object]) -> SettingsChanges:
    """Return the settings of a file that the owner may use here; print the others with the reason."""
    from api.requests import settings

    allowed: SettingsChanges = {}
    for names in SETTINGS:
        asked = {name: found[name] for name in names if found.get(name) is not None}
        try:
            changed = settings.changes(config, owner_id, settings.load_overrides(asked), thread_id="")
        except InvalidParams as error:
            click.echo(f"setting not imported: {error}", err=True)
            continue
        cwd = changed.get("cwd")
        if cwd is None:
            allowed |= changed
        elif not os.path.isdir(cwd):
            click.echo(f"setting not imported: cwd: there is no folder {cwd} on this host", err=True)
        elif not Path(cwd).is_relative_to(config.server.workspaces_dir):  # a folder there belongs to one thread
            allowed["cwd"] = cwd
    return allowed
