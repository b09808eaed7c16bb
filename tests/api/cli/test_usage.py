"""threadhouse usage, as an operator runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import insert

from api.cli import commands
from shared.store import Store
from shared.store.migrations import migrate
from shared.store.usage_tables import usage_days, usage_models

PRICES = """
[prices]
currency = "EUR"
[[prices.models]]
model = "large"
input = 2
cached_input = 0.5
output = 10
[[prices.models]]
model = "large"
from = 2026-11-02
input = 1.1
output = 8
"""
DAYS = ("--from", "2026-11-01", "--to", "2026-11-03")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home with the usage of two users."""
    (tmp_path / "config.toml").write_text(PRICES)
    url = f"sqlite:///{tmp_path}/threadhouse.sqlite3"
    migrate(url)
    store = Store(url)
    ann, bob = store.users.add("ann").id, store.users.add("bob").id
    days = [
        ("2026-11-01", ann, 1_300_000),
        ("2026-11-02", ann, 1_100_000),
        ("2026-11-03", bob, 77),
        ("2020-01-01", bob, 5),
    ]
    models = [
        ("2026-11-01", ann, "large", 1_200_000, 1_000_000, 400_000, 200_000),
        ("2026-11-01", ann, "free", 100_000, 100_000, 0, 0),
        ("2026-11-02", ann, "large", 1_100_000, 1_000_000, 400_000, 100_000),
    ]
    with store.database.write() as connection:
        connection.execute(
            insert(usage_days), [dict(zip(("day", "owner", "tokens"), row, strict=True)) for row in days]
        )
        connection.execute(insert(usage_models), [dict(zip(usage_models.c.keys(), row, strict=True)) for row in models])
    store.close()
    return tmp_path


def run(home: Path, *words: str) -> Result:
    environ = {"THREADHOUSE_HOME": str(home), "THREADHOUSE_DATABASE_URL": None}
    return CliRunner(env=environ).invoke(commands, ["usage", *words])


def test_tokens_and_money_by_day_user_and_model_as_csv(home: Path) -> None:
    assert run(home, "--csv", *DAYS).output.splitlines() == [
        "day,user,model,tokens,input_tokens,cached_input_tokens,output_tokens,cost,currency,unpriced_tokens",
        "2026-11-01,ann,free,100000,100000,0,0,,EUR,100000",
        "2026-11-01,ann,large,1200000,1000000,400000,200000,3.4,EUR,0",  # 0.6 × 2 + 0.4 × 0.5 + 0.2 × 10
        "2026-11-02,ann,large,1100000,1000000,400000,100000,1.9,EUR,0",  # 1 × 1.1 + 0.1 × 8, the price of that day
        "2026-11-03,bob,(unknown),77,0,0,0,,EUR,77",
    ]


def test_usage_is_grouped_as_asked_and_printed_as_json_or_for_people(home: Path) -> None:
    def tokens_and_cost(*words: str) -> list[tuple[object, ...]]:
        lines = map(json.loads, run(home, "--json", *DAYS, *words).output.splitlines())
        return [(*list(line.values())[:-7], line["tokens"], line["cost"], line["unpriced_tokens"]) for line in lines]

    assert tokens_and_cost("--by", "user") == [("ann", 2_400_000, 5.3, 100_000), ("bob", 77, None, 77)]
    assert [line[0] for line in tokens_and_cost("--by", "model")] == ["(unknown)", "free", "large"]
    assert tokens_and_cost("--user", "bob", "--by", "day") == [("2026-11-03", 77, None, 77)]
    assert "2026-11-02" in run(home, *DAYS).output
    assert run(home, "--from", "2026-11-04", "--to", "2026-11-05").output == ""


def test_days_that_are_none_are_refused(home: Path) -> None:
    for words in (("--from", "yesterday"), ("--from", "2026-11-02", "--to", "2026-11-01"), ("--from", "2000-01-01")):
        refused = run(home, *words)
        assert (refused.exit_code, "from, to: expected" in str(refused.exception)) == (1, True)
