"""Add the transport, address and API key of each audited action."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    for name in ("door", "address", "key_id"):
        op.add_column("audit", sa.Column(name, sa.String()))
