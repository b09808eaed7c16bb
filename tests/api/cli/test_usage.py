"""threadhouse usage, as an operator runs it."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from sqlalchemy import insert

from api.cli import commands
from shared.store import Store
from shared.store.migrations import migrate
from shared.store.tables import usage_days


def test_usage_by_user_and_day_is_printed_for_people_as_csv_and_as_json(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/threadhouse.sqlite3"
    migrate(url)
    store = Store(url)
    ann, bob, day = store.users.add("ann").id, store.users.add("bob").id, "2999-01-01"
    spent = [(ann, "2020-01-01", 5), (ann, day, 70), (bob, day, 8)]
    with store.database.write() as connection:
        connection.execute(
            insert(usage_days), [dict(zip(("owner", "day", "tokens"), row, strict=True)) for row in spent]
        )
    store.close()

    def run(*words: str) -> str:
        environ = {"THREADHOUSE_HOME": str(tmp_path), "THREADHOUSE_DATABASE_URL": None}
        return CliRunner(env=environ).invoke(commands, ["usage", *words]).output

    assert run("--csv").splitlines() == ["day,user,tokens", f"{day},ann,70", f"{day},bob,8"]
    assert [json.loads(line) for line in run("--json", "--user", "bob").splitlines()] == [
        {"day": day, "user": "bob", "tokens": 8}
    ]
    assert "ann" in run()
