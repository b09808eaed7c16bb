"""Add the time at which a thread's session file is due."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("threads", sa.Column("session_due_at_ms", sa.BigInteger(), nullable=True))
    due = sa.text("session_due_at_ms IS NOT NULL")
    op.create_index("threads_session_due", "threads", ["session_due_at_ms"], postgresql_where=due, sqlite_where=due)
