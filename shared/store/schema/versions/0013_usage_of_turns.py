"""The token usage of a thread as of each turn: a fork or a revert to an earlier turn has the usage of that turn."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("turns", sa.Column("token_usage", sa.Text()))
