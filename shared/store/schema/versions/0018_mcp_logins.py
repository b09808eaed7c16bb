"""Logins of users at MCP servers, encrypted."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "mcp_logins",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("server_url", sa.String, primary_key=True),
        sa.Column("login", sa.Text, nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
    )
