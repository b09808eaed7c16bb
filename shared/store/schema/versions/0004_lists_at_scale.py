"""Add indexes for filtered lists of many threads."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

FILTERED = ("archived_at_ms", "source", "model_provider", "cwd", "name", "preview")


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # The planner has statistics of each column: it uses one of these indexes, or the index of the sort order.
        for name in ("cwd", "source", "model_provider"):
            op.create_index(f"threads_by_{name}", "threads", ["owner", name])
        archived = sa.text("archived_at_ms IS NOT NULL")
        op.create_index("threads_archived", "threads", ["owner"], postgresql_where=archived)
        return
    # SQLite has no such statistics: the index of the sort order also holds the filtered columns, so it is enough.
    for name in ("created", "updated", "recency"):
        op.drop_index(f"threads_by_{name}", "threads")
        op.create_index(f"threads_by_{name}", "threads", ["owner", f"{name}_at_ms", "id", *FILTERED])
