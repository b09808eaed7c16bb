"""User configurations: the settings that users wrote for themselves, under the keys of config.toml."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, insert, select, update

from shared.errors import Conflict
from shared.store import audit
from shared.store.audit import AuditEntry
from shared.store.conflicts import retry_conflicts
from shared.store.connection import Database
from shared.store.tables import user_configs

FIRST_CHANGE = {"user_configs_pkey": "user_configs.owner"}


class UserConfigs:
    """The user_configs table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, owner: str) -> tuple[Mapping[str, object], int]:
        """Return the owner's settings and their version, which is 0 before the first change."""
        with self._database.read() as connection:
            return _get(connection, owner, lock=False)

    def change(
        self,
        owner: str,
        edit: Callable[[Mapping[str, object]], Mapping[str, object]],
        expected_version: int | None,
        *,
        audit_entry: AuditEntry | None = None,
    ) -> int:
        """Replace the settings with edit(settings). Returns the new version.

        Errors: Conflict (the version is not the expected one); those of edit; nothing is changed then
        """

        def write() -> int:
            with self._database.write() as connection:
                config, version = _get(connection, owner, lock=True)
                if expected_version not in (None, version):
                    raise Conflict(f"the configuration has version {version}, not {expected_version}; read it again")
                row = {"version": version + 1, "config": edit(config)}
                if version:
                    connection.execute(update(user_configs).where(user_configs.c.owner == owner).values(row))
                else:
                    connection.execute(insert(user_configs).values(owner=owner, **row))
                audit.write(connection, audit_entry)
                return version + 1

        return retry_conflicts(write, FIRST_CHANGE)


def _get(connection: Connection, owner: str, *, lock: bool) -> tuple[Mapping[str, object], int]:
    query = select(user_configs.c.config, user_configs.c.version).where(user_configs.c.owner == owner)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return (row.config, row.version) if row else ({}, 0)
