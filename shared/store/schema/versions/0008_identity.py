"""Who may come in, and what was written down about it."""

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    pass
