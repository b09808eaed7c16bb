"""What hooks have decided about a row of a thread's log, so that no hook decides twice."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column("items", sa.Column("hooks", sa.Text))
