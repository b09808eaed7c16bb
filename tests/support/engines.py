"""Database engines that share compiled statements, because each test creates its own engine."""

from __future__ import annotations

from typing import Any

import sqlalchemy
from sqlalchemy.engine import Engine

from shared.store import connection

_first: dict[str, Engine] = {}


def share_compiled_statements() -> None:
    """Let each new engine use the statements that earlier engines of the same kind of database have compiled.

    SQLAlchemy keeps them in the engine. Compiling them again for each test took a sixth of the time of the unit tests.
    """
    connection.create_engine = _create_engine


def _create_engine(*arguments: Any, **options: Any) -> Engine:
    engine = sqlalchemy.create_engine(*arguments, **options)
    first = _first.setdefault(engine.name, engine)
    engine._compiled_cache = first._compiled_cache
    engine.dialect = first.dialect  # it is part of the cache key of a compiled statement
    return engine
