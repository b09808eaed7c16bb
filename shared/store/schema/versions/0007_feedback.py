"""What users report, and how far its processing has come."""

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    pass
