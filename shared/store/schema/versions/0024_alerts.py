"""What was wrong with the deployment, since when and until when: an admin sees the problems of the day."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sa.Column("seen_at_ms", sa.BigInteger, nullable=False),
        sa.Column("until_ms", sa.BigInteger),
    )
    only = sa.text("until_ms IS NULL")
    op.create_index("alerts_open", "alerts", ["name"], unique=True, postgresql_where=only, sqlite_where=only)
