"""How Alembic connects; the url comes from shared.store.connection.migrate."""

from alembic import context

from shared.store.connection import Database
from shared.store.tables import metadata

database = Database(context.config.attributes["url"])
try:
    with database.write() as connection:
        if not database.is_sqlite:
            database.lock_claims(connection)  # two processes that start at once take turns
        context.configure(connection=connection, target_metadata=metadata)
        context.run_migrations()
finally:
    database.close()
