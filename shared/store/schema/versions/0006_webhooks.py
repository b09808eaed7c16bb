"""What webhooks and notify programs still have to be told."""

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    pass
