"""Schema steps: the previous version keeps working beside the new one while a deployment is upgraded."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

import shared.store
from shared.store.migrations import schema_suffices
from shared.store.tables import metadata

SCHEMA = Path(shared.store.__file__).parent / "schema"
STEPS = [step.revision for step in reversed(list(ScriptDirectory(str(SCHEMA)).walk_revisions()))]

# Steps made before the first release may rename: no older version runs beside them. (table, column) → its new name.
RENAMED_TABLES = {"0012": {"mail": "pending_inputs"}}
RENAMED_COLUMNS = {
    "0012": {
        ("turns", "lost"): "lost_attempts",
        ("turns", "announced"): "published_state",
        ("items", "announced"): "published_state",
        ("approvals", "announced"): "published_state",
        ("audit", "door"): "transport",
    }
}

FIRST_RELEASE = "0012"  # its last step

Columns = dict[str, dict[str, dict[str, Any]]]
Unique = set[tuple[str, tuple[str | None, ...]]]


def schema_after(step: str, url: str) -> tuple[Columns, Unique]:
    """Return table → column → its type and constraints in the database, and (table, columns) of each unique index."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(SCHEMA))
    config.attributes["url"] = url
    command.upgrade(config, step)
    engine = create_engine(url)
    try:
        found = inspect(engine)
        tables = found.get_table_names()
        indexes = {table: [*found.get_indexes(table), *found.get_unique_constraints(table)] for table in tables}
        columns = {table: {one["name"]: dict(one) for one in found.get_columns(table)} for table in tables}
        unique = {
            (table, tuple(one["column_names"])) for table in tables for one in indexes[table] if one.get("unique", True)
        }
        return columns, unique
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Columns, Unique]]:
    """Return step → the schema of the database after it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('schema')}/steps.sqlite3"
    return {step: schema_after(step, url) for step in STEPS}


@pytest.fixture(scope="module")
def history(schemas: dict[str, tuple[Columns, Unique]]) -> dict[str, Columns]:
    """Return step → the columns of the database after it."""
    return {step: columns for step, (columns, _) in schemas.items()}


@pytest.mark.parametrize(("before", "after"), list(pairwise(STEPS)))
def test_a_step_removes_nothing_and_adds_nothing_that_the_previous_version_must_fill(
    history: dict[str, Columns], before: str, after: str
) -> None:
    renamed_tables, renamed_columns = RENAMED_TABLES.get(after, {}), RENAMED_COLUMNS.get(after, {})
    for old_table, old_columns in history[before].items():
        table = renamed_tables.get(old_table, old_table)
        columns = {renamed_columns.get((table, name), name): column for name, column in old_columns.items()}
        assert columns.keys() <= history[after].get(table, {}).keys(), table
        for name in history[after][table].keys() - columns.keys():
            added = history[after][table][name]
            assert added["nullable"] or added["default"] is not None, (
                f"{table}.{name}: the previous version cannot insert a row without it"
            )
        for name, column in columns.items():
            changed = history[after][table][name]
            assert column["nullable"] <= changed["nullable"], f"{table}.{name}"
            assert str(column["type"]) == str(changed["type"]), f"{table}.{name}"


def test_steps_since_the_first_release_forbid_no_rows_that_it_stores(
    schemas: dict[str, tuple[Columns, Unique]],
) -> None:
    (tables, unique), (_, newest_unique) = schemas[FIRST_RELEASE], schemas[STEPS[-1]]

    assert {one for one in newest_unique - unique if one[0] in tables} == set()


def test_the_tables_in_code_match_the_newest_step(history: dict[str, Columns]) -> None:
    made = {table: set(columns) for table, columns in history[STEPS[-1]].items() if table != "alembic_version"}

    assert made == {str(table.name): {str(column.name) for column in table.c} for table in metadata.sorted_tables}


def test_the_indexes_in_code_match_those_of_the_newest_step(empty_database: Path, tmp_path: Path) -> None:
    migrated, made = create_engine(f"sqlite:///{empty_database}"), create_engine(f"sqlite:///{tmp_path}/made.sqlite3")
    metadata.create_all(made)

    for table in metadata.sorted_tables:
        in_steps, in_code = _indexes(migrated, str(table.name)), _indexes(made, str(table.name))
        assert in_code.keys() == in_steps.keys()
        for name, (columns, *others) in in_code.items():
            assert in_steps[name][0][: len(columns)] == columns  # SQLite lists a covering index with more columns
            assert in_steps[name][1:] == tuple(others)


def _indexes(engine: Engine, table: str) -> dict[str | None, tuple[list[str | None], bool | None, str]]:
    """Return name → columns, whether it is unique, and its condition."""
    found = inspect(engine).get_indexes(table)
    return {
        one["name"]: (one["column_names"], bool(one["unique"]), str(one["dialect_options"].get("sqlite_where")))
        for one in found
    }


def test_a_version_works_with_its_own_schema_and_with_that_of_a_later_version(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.sqlite3"
    assert not schema_suffices(url), "it is empty"
    schema_after(STEPS[-2], url)
    assert not schema_suffices(url)
    schema_after(STEPS[-1], url)
    assert schema_suffices(url)

    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    engine.dispose()
    assert schema_suffices(url)
