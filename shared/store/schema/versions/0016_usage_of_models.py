"""Tokens by model, so that operators see what each user spends on which model; and when a turn was claimed last."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "usage_models",
        sa.Column("day", sa.String, primary_key=True),
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
    )
    op.add_column("turns", sa.Column("claimed_at_ms", sa.BigInteger()))
