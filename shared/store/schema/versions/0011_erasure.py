"""Add erasures and their receipts."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("subject_id", sa.String, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("cause", sa.String, nullable=False),
        sa.Column("requested_at_ms", sa.BigInteger, nullable=False),
        sa.Column("due_at_ms", sa.BigInteger, nullable=False),
        sa.Column("done_at_ms", sa.BigInteger),
        sa.Column("receipt", sa.Text, nullable=False),
    )
    op.create_index("erasures_of_owner", "erasures", ["owner", "id"])
    open_ = sa.text("done_at_ms IS NULL")
    op.create_index("erasures_due", "erasures", ["due_at_ms"], postgresql_where=open_, sqlite_where=open_)
