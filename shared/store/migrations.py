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
    before = _current_step(url)
    config = Config()
    config.set_main_option("script_location", str(STEPS))
    config.attributes["url"] = url
    command.upgrade(config, "head")
    return before, ScriptDirectory(str(STEPS)).get_current_head()


def schema_is_current(url: str) -> bool:
    """Return whether the database is at the newest step."""
    return _current_step(url) == ScriptDirectory(str(STEPS)).get_current_head()


def _current_step(url: str) -> str | None:
    database = Database(url)
    try:
        with database.read() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        database.close()
