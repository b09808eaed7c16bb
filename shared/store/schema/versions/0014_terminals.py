"""Background terminals: commands that run on after their turn."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "terminals",
        sa.Column("item_id", sa.String, primary_key=True),
        sa.Column("thread_id", sa.String, nullable=False),
        sa.Column("turn_id", sa.String, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("process_id", sa.BigInteger, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("cwd", sa.Text, nullable=False),
        sa.Column("worker", sa.String, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
        sa.Column("stopping", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("ended_at_ms", sa.BigInteger),
        sa.Column("report", sa.Text),
        sa.Column("outcome", sa.Text),
    )
    op.create_index("terminals_of_thread", "terminals", ["thread_id", "item_id"])
    op.create_index("terminals_of_owner", "terminals", ["owner"])
