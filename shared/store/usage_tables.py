"""The tables of what users spend, as those of tables.py."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table

from shared.store.tables import metadata

usage_days = Table(
    "usage_days",
    metadata,
    Column("owner", String, primary_key=True),
    Column("day", String, primary_key=True),  # YYYY-MM-DD, UTC
    Column("tokens", BigInteger, nullable=False),
    Column("day_warned", Integer, nullable=False, default=0),  # 1: the user was warned about the day's budget
    Column("month_warned", Integer, nullable=False, default=0),  # the same for the month's budget, on that day
)

usage_models = Table(
    "usage_models",  # what usage_days counts, by model; 0.1.0 counts in usage_days alone
    metadata,
    Column("day", String, primary_key=True),  # YYYY-MM-DD, UTC
    Column("owner", String, primary_key=True),
    Column("model", String, primary_key=True),  # shared.store.usage.model_name, or OTHER_MODELS
    Column("tokens", BigInteger, nullable=False),  # as in usage_days
    Column("input_tokens", BigInteger, nullable=False),  # cached ones too
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
)
