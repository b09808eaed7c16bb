"""An index for the pending requests of a user: an inbox reads them often, and rows of answered ones are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    only = sa.text("state = 'pending'")
    op.create_index("approvals_waiting", "approvals", ["owner", "id"], postgresql_where=only, sqlite_where=only)
