"""The Alembic migrations of the database; shared.store.migrations runs them."""
