"""Who answered a request, and an index for the requests that were answered last: an inbox shows both."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.add_column("approvals", sa.Column("answered_by", sa.Text))
    only = sa.text("state = 'answered'")
    op.create_index(
        "approvals_answered", "approvals", ["owner", "answered_at_ms"], postgresql_where=only, sqlite_where=only
    )
