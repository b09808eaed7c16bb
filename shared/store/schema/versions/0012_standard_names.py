"""Rename tables and columns to the standard terms of the field.

This step was made before the first release (v0.1.0), so no older version runs beside it. Later steps only add.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.drop_index("mail_of_turn", table_name="mail")
    op.rename_table("mail", "pending_inputs")
    op.create_index("pending_inputs_of_turn", "pending_inputs", ["turn_id", "id"])
    op.drop_index("turns_unannounced", table_name="turns")
    op.alter_column("turns", "lost", new_column_name="lost_attempts")
    for table in ("turns", "items", "approvals"):
        op.alter_column(table, "announced", new_column_name="published_state")
    unpublished = sa.text("phase = 'done' AND published_state < 2")
    op.create_index(
        "turns_unpublished", "turns", ["completed_at_ms"], postgresql_where=unpublished, sqlite_where=unpublished
    )
    op.alter_column("audit", "door", new_column_name="transport")
