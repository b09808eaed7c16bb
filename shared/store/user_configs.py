"""User configurations: the layer of settings that each user wrote, by the keys of config.toml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from shared.errors import Conflict
from shared.store import audit
from shared.store.audit import Act
from shared.store.connection import Database
from shared.store.tables import user_configs


class UserConfigs:
    """The user_configs table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, owner: str) -> tuple[dict[str, Any], int]:
        """The owner's keys and their version; 0 before the first change."""
        with self._database.read() as connection:
            return _get(connection, owner, lock=False)

    def change(
        self,
        owner: str,
        edit: Callable[[dict[str, Any]], dict[str, Any]],
        expected_version: int | None,
        *,
        act: Act | None = None,
    ) -> int:
        """Put edit(keys) in the place of the keys. Returns the new version.

        Errors: Conflict (another version is there); those of edit, and nothing is changed
        """
        while True:
            try:
                with self._database.write() as connection:
                    config, version = _get(connection, owner, lock=True)
                    if expected_version not in (None, version):
                        raise Conflict(
                            f"the configuration has version {version}, not {expected_version}; read it again"
                        )
                    row = {"version": version + 1, "config": edit(config)}
                    if version:
                        connection.execute(update(user_configs).where(user_configs.c.owner == owner).values(row))
                    else:
                        connection.execute(insert(user_configs).values(owner=owner, **row))
                    audit.write(connection, act)
                    return version + 1
            except IntegrityError:  # somebody else's first change came between our look and our insert
                continue


def _get(connection: Connection, owner: str, *, lock: bool) -> tuple[dict[str, Any], int]:
    query = select(user_configs.c.config, user_configs.c.version).where(user_configs.c.owner == owner)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return (row.config, row.version) if row else ({}, 0)
