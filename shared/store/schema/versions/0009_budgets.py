"""Add limits of single users, token usage by day, token reservations and stored bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

LIMITS = ("turns_at_once", "queued_turns", "requests_per_minute", "connections", "threads", "stored_bytes")
BUDGETS = ("tokens_per_day", "tokens_per_month")


def upgrade() -> None:
    op.create_table(
        "user_limits",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("weight", sa.Integer),
        *(sa.Column(name, sa.BigInteger) for name in LIMITS + BUDGETS),
    )
    op.create_table(
        "usage_days",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("day", sa.String, primary_key=True),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("day_warned", sa.Integer, nullable=False, server_default="0"),
        sa.Column("month_warned", sa.Integer, nullable=False, server_default="0"),
    )
    op.add_column("turns", sa.Column("reserved_tokens", sa.BigInteger))
    op.add_column("threads", sa.Column("stored_bytes", sa.BigInteger, nullable=False, server_default="0"))
    size = "octet_length({0})" if op.get_bind().dialect.name == "postgresql" else "length(CAST({0} AS BLOB))"
    item, model_items = size.format("item"), size.format("model_items")
    op.execute(
        f"UPDATE threads SET stored_bytes = sizes.size FROM (SELECT thread_id, sum(coalesce({item}, 0) + {model_items})"
        " AS size FROM items GROUP BY thread_id) AS sizes WHERE sizes.thread_id = threads.id"
    )
    op.drop_index("turns_queued", "turns")
    waiting = sa.text("phase = 'queued'")
    op.create_index(
        "turns_waiting", "turns", ["owner", "queued_at_ms", "id"], postgresql_where=waiting, sqlite_where=waiting
    )
