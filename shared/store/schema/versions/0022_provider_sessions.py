"""Sessions of users who signed in at a provider (OIDC): whom it knows, what makes them an admin, how they sign out.

A release without these columns takes such a session for one of a token, with the role of the user's row.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("subject", sa.String))
    op.add_column("sessions", sa.Column("provider_session", sa.String))
    op.add_column("sessions", sa.Column("is_admin", sa.Boolean))
    op.add_column("sessions", sa.Column("id_token", sa.Text))
    op.create_index("ix_sessions_subject", "sessions", ["subject"])
    op.create_index("ix_sessions_provider_session", "sessions", ["provider_session"])
