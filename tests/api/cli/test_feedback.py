"""threadhouse feedback, as an operator runs it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli import commands
from shared.store import Store

REPORT: dict[str, Any] = {"thread_id": None, "tags": {}, "include_logs": False, "per_day": 0}


@pytest.fixture
def store(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("THREADHOUSE_HOME", str(tmp_path))
    monkeypatch.delenv("THREADHOUSE_DATABASE_URL", raising=False)
    shutil.copy(empty_database, tmp_path / "threadhouse.sqlite3")
    store = Store(f"sqlite:///{tmp_path}/threadhouse.sqlite3")
    yield store
    store.close()


@pytest.fixture
def ids(store: Store) -> list[str]:
    """The ids of a delivered, a failed and a waiting report of two users."""
    made = [
        store.feedback.create(owner, classification="bug", reason=reason, **REPORT).id
        for owner, reason in (("ada", "first"), ("bob", "second"), ("ada", "third"))
    ]
    first = store.feedback.claim(lease_ms=60_000)
    assert first is not None
    assert store.feedback.finish(first, json.dumps({"rollout": ["a line"]}), {})
    second = store.feedback.claim(lease_ms=60_000)
    assert second is not None
    store.feedback.retry_or_fail(second, "the disk is full", None)
    return made


def run(*words: str) -> Result:
    return CliRunner().invoke(commands, ["feedback", *words])


def rows(*words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(*words, "--json").stdout.splitlines()]


def test_list_shows_the_reports_of_all_users_newest_first(ids: list[str]) -> None:
    assert [row["id"] for row in rows("list")] == ids[::-1]
    assert [(row["id"], row["userId"], row["error"]) for row in rows("list", "--status", "failed")] == [
        (ids[1], "bob", "the disk is full")
    ]
    assert len(rows("list", "--limit", "1")) == 1
    assert run("list", "--status", "delivered").stdout.split()[-3:] == [ids[0], "delivered", "bug"]
    assert run("list", "--status", "lost").exit_code == 2


def test_show_includes_the_collected_content_on_request_and_is_audited(ids: list[str], store: Store) -> None:
    shown = run("show", ids[1]).stdout
    assert "status: failed\nerror: the disk is full\n" in shown
    assert "rollout" not in run("show", ids[0]).stdout
    assert '"a line"' in run("show", ids[0], "--content").stdout
    (row,) = rows("show", ids[0], "--content")
    assert (row["reason"], row["content"]) == ("first", {"rollout": ["a line"]})

    shown_entries = store.audit.all_users_page(action="feedback show")

    assert [(row.owner, row.subject_id) for row in shown_entries] == [
        ("operator", ids[index]) for index in (1, 0, 0, 0)
    ]


def test_retry_queues_a_failed_report_and_refuses_others(ids: list[str], store: Store) -> None:
    again, other, unknown = run("retry", ids[1]), run("retry", ids[0]), run("retry", "nope")

    assert (again.exit_code, other.exit_code, unknown.exit_code) == (0, 1, 1)
    assert f"report {ids[0]} is delivered; only failed ones are retried" in str(other.exception)
    assert "feedback not found: nope" in str(unknown.exception)
    claimed = [store.feedback.claim(lease_ms=60_000) for _ in range(2)]
    assert {report.id for report in claimed if report} == {ids[1], ids[2]}
    assert [row.subject_id for row in store.audit.all_users_page(action="feedback retry")] == [ids[1]]
