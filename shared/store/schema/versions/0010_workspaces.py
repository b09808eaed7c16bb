"""What a thread's workspace was made from."""

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    pass
