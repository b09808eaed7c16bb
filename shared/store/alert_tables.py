"""The table of alerts, as those of tables.py."""

from __future__ import annotations

from sqlalchemy import Column, Index, String, Table, Text

from shared.store.column_types import Millis, only_where
from shared.store.tables import metadata

alerts = Table(
    "alerts",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),  # of shared.alerts.ALERTS; "": the row that says when the watch looked last
    Column("message", Text, nullable=False),
    Column("since_ms", Millis, nullable=False),
    Column("seen_at_ms", Millis, nullable=False),  # when it held last
    Column("until_ms", Millis),  # NULL: it holds now
)
Index("alerts_open", alerts.c.name, unique=True, **only_where("until_ms IS NULL"))
