"""The Alembic environment: connects to the URL that shared.store.migrations.migrate passes."""

from alembic import context
from sqlalchemy import text

from shared.store.connection import Database
from shared.store.tables import metadata

STEP_SECONDS = 3600.0  # for one statement, such as an index of a large table
LOCK_MS = 10_000  # for which a step waits for a lock, because everything that needs the table waits behind it

database = Database(context.config.attributes["url"], answer_seconds=STEP_SECONDS)
try:
    with database.write() as connection:
        if not database.is_sqlite:
            database.lock_claims(connection)  # two processes that start together migrate one after the other
            connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_MS}"))
        context.configure(connection=connection, target_metadata=metadata)
        context.run_migrations()
finally:
    database.close()
