"""What users may spend, and what they have."""

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    pass
