"""threadhouse export and import: threads as Codex rollout files, straight from and to the database."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from api.cli.options import home_option
from shared import config as configuration
from shared.config import Config
from shared.errors import Conflict, InvalidParams, InvalidRequest, NotFound

if TYPE_CHECKING:
    from shared.store import Store

# What a file's settings are called where a client asks for them; a model goes with its provider.
OVERRIDES = (
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
@click.option("-o", "--output", type=click.File("wb", lazy=True), default="-", metavar="FILE", help="default: stdout")
@home_option
def export(thread_id: str, output: BinaryIO) -> None:
    """Write the thread ID as a rollout file that `codex resume` can read: all its turns that have ended."""
    from shared import rollout
    from shared.store import Store
    from shared.store.audit import Act

    store = Store(configuration.load(None, os.environ).database_url)
    try:
        history = store.histories.all_users_find(thread_id)
        if history is not None:
            store.audit.append(Act.of_operator("export"), thread_id=thread_id)
    finally:
        store.close()
    if history is None:
        raise NotFound(f"no thread {thread_id}")
    output.writelines(rollout.write(history))


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--owner", metavar="NAME", help="The user whose thread it becomes; needed once there are users.")
@home_option
def import_(file: Path, owner: str | None) -> None:
    """Take a rollout FILE in as a thread and print its id, as the last word.

    It keeps its id, unless a thread here has it: then it becomes a second thread under a new one. Settings that this
    server would not let the owner ask for are replaced by its defaults.
    """
    from api import settings
    from shared import rollout
    from shared.store import Store
    from shared.store.audit import Act
    from shared.store.histories import with_fresh_ids

    config = configuration.load(None, os.environ)
    store = Store(config.database_url)
    try:
        owner_id = _owner_id(store, owner)
        act = Act.of_operator("import")
        try:
            with file.open("rb") as lines:
                found = rollout.read(lines, owner_id)
        except InvalidRequest as error:
            raise InvalidRequest(f"{file}: {error}") from None
        overrides = _overrides(config, owner_id, found.thread.settings)
        for history in (found, with_fresh_ids(found)):
            chosen = settings.defaults(config, owner_id, history.thread.id) | overrides
            try:
                store.histories.add(replace(history, thread=replace(history.thread, settings=chosen)), act=act)
                break
            except Conflict as error:
                click.echo(f"{error}; this becomes another one", err=True)
    finally:
        store.close()
    click.echo(f"imported {len(history.turns)} turns: {history.thread.id}")


def _owner_id(store: Store, name: str | None) -> str:
    from shared.store.users import LOCAL_USER

    if name is not None:
        return store.users.by_name(name).id
    if store.users.exist():
        raise InvalidRequest("this server has users; say whose thread it becomes: --owner NAME")
    return LOCAL_USER


def _overrides(config: Config, owner_id: str, found: dict[str, Any]) -> dict[str, Any]:
    """Of a file's settings those that its owner could ask for; the others are named."""
    from api import settings
    from api.params import load

    allowed: dict[str, Any] = {}
    for names in OVERRIDES:
        asked = {name: found[name] for name in names if found.get(name) is not None}
        try:
            changed = settings.changes(config, owner_id, load(settings.SettingsParams(), asked))
        except InvalidParams as error:
            click.echo(f"not taken over: {error}", err=True)
            continue
        cwd = changed.get("cwd")
        if cwd is None:
            allowed |= changed
        elif not os.path.isdir(cwd):
            click.echo(f"not taken over: cwd: there is no folder {cwd} here", err=True)
        elif not Path(cwd).is_relative_to(config.server.workspaces_dir):  # those belong to one thread each
            allowed["cwd"] = cwd
    return allowed
