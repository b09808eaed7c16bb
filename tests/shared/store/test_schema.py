"""Schema steps: the version before goes on beside the new one while a deployment is upgraded."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

import shared.store
from shared.store.tables import metadata

SCHEMA = Path(shared.store.__file__).parent / "schema"
STEPS = [step.revision for step in reversed(list(ScriptDirectory(str(SCHEMA)).walk_revisions()))]

Columns = dict[str, dict[str, dict[str, Any]]]


def columns_after(step: str, url: str) -> Columns:
    """Table → column → what the database knows of it."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(SCHEMA))
    config.attributes["url"] = url
    command.upgrade(config, step)
    engine = create_engine(url)
    try:
        found = inspect(engine)
        return {
            table: {one["name"]: dict(one) for one in found.get_columns(table)} for table in found.get_table_names()
        }
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Columns]:
    """Step → the database after it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('schema')}/steps.sqlite3"
    return {step: columns_after(step, url) for step in STEPS}


@pytest.mark.parametrize(("before", "after"), list(pairwise(STEPS)))
def test_a_step_takes_nothing_away_and_asks_the_version_before_for_nothing(
    history: dict[str, Columns], before: str, after: str
) -> None:
    for table, columns in history[before].items():
        assert columns.keys() <= history[after].get(table, {}).keys(), table
        for name in history[after][table].keys() - columns.keys():
            added = history[after][table][name]
            assert added["nullable"] or added["default"] is not None, (
                f"{table}.{name}: nobody who does not know it can insert"
            )
        for name, column in columns.items():
            assert column["nullable"] <= history[after][table][name]["nullable"], f"{table}.{name}"


def test_the_tables_in_code_are_those_of_the_newest_step(history: dict[str, Columns]) -> None:
    made = {table: set(columns) for table, columns in history[STEPS[-1]].items() if table != "alembic_version"}

    assert made == {str(table.name): {str(column.name) for column in table.c} for table in metadata.sorted_tables}
