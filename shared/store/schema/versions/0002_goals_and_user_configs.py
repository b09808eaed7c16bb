"""Add thread goals, history modes and user configurations, and index names and previews for substring search."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("threads", sa.Column("goal", sa.Text(), nullable=True))
    op.add_column("threads", sa.Column("history_mode", sa.String(), nullable=True))
    op.create_table(
        "user_configs",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("owner"),
    )
    if op.get_bind().dialect.name == "postgresql":
        _index_text(op.get_bind())


def _index_text(connection: sa.Connection) -> None:
    """Create a trigram index where the extension exists or may be created; search works without it."""
    try:
        with connection.begin_nested():
            connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
    except sa.exc.DBAPIError:
        return
    columns = "name gin_trgm_ops, preview gin_trgm_ops"
    connection.execute(sa.text(f"CREATE INDEX threads_by_text ON threads USING gin ({columns})"))
