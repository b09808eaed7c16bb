"""Bring a database to the current schema, and check whether it is there, with Alembic.

A module of its own: Alembic takes a tenth of a second to import, and only the commands that migrate or check need it.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from shared.store.connection import Database

STEPS = Path(__file__).parent / "schema"


def migrate(url: str) -> tuple[str | None, str | None]:
    """Bring the database to the newest schema step; harmless when it is there already.

    Returns: the steps that it was at before and is at now; None: it had no schema
    """
    before = schema_step(url)
    config = Config()
    config.set_main_option("script_location", str(STEPS))
    config.attributes["url"] = url
    command.upgrade(config, "head")
    return before, ScriptDirectory(str(STEPS)).get_current_head()


def schema_is_current(url: str) -> bool:
    """Return whether the database is at the newest step."""
    return schema_step(url) == ScriptDirectory(str(STEPS)).get_current_head()


def schema_suffices(url: str) -> bool:
    """Return whether this version can work with the database: it is at the newest step, or a later version moved it on.

    A later version's steps are unknown here, and only add to the schema.
    """
    steps = ScriptDirectory(str(STEPS))
    outdated = {step.revision for step in steps.walk_revisions()} - {steps.get_current_head()}
    current = schema_step(url)
    return current is not None and current not in outdated


def is_known(step: str) -> bool:
    """Return whether this version has a schema step of this name."""
    return any(known.revision == step for known in ScriptDirectory(str(STEPS)).walk_revisions())


def schema_step(url: str) -> str | None:
    """Return the schema step that the database is at; None: it has no schema."""
    database = Database(url)
    try:
        with database.read() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        database.close()
