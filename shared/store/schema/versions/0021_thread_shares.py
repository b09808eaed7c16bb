"""Links by which people without an account read a thread."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.create_table(
        "thread_shares",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("thread_id", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False, unique=True),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
        sa.Column("revoked_at_ms", sa.BigInteger),
    )
    op.create_index("ix_thread_shares_owner", "thread_shares", ["owner"])
    op.create_index("ix_thread_shares_thread_id", "thread_shares", ["thread_id"])
    op.create_index("ix_thread_shares_expires_at_ms", "thread_shares", ["expires_at_ms"])
