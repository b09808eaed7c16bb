"""Which turns a thread no longer has, and its session file still may: they are no turns from elsewhere."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.add_column("threads", sa.Column("reverted_turns", sa.Text))
