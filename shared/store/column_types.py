"""Types of columns, and indexes of a part of a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from sqlalchemy import BigInteger, Integer, Text, text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

Millis = BigInteger
Serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only INTEGER keys automatically


class Json(TypeDecorator[Any]):
    """Any JSON value, stored as text: it is read whole and no query looks into it."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else orjson.dumps(value).decode()

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], Any]:
        return _loads  # not process_result_value, which is called through a wrapper for each value


def _loads(value: str | None) -> Any:
    return None if value is None else orjson.loads(value)


def only_where(condition: str) -> dict[str, Any]:
    """Return the options of an index of the rows that meet a condition. The steps in schema/ make it on both databases.

    Not those of Postgres: SQLAlchemy would load its dialect (2 MiB) in servers that use SQLite, too.
    """
    return {"sqlite_where": text(condition)}
