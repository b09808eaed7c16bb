"""thread/delete: rows go at once, a worker removes the rest, and the receipt says what there was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text

from tests.support.deployment import DATABASES, Deployment, require, shown_when_it_fails
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import command, run_turn
from tests.support.wait import until

CANARY = "canary-51c2-whole"


@pytest.fixture(params=DATABASES)
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    """Its worker serves background jobs, too."""
    require(request.param)
    settings: dict[str, object] = {
        "feedback": {"sinks": ["database", "directory"], "directory": str(tmp_path / "reports")},
        "sandbox_mode": "workspace-write",
        "approval_policy": "never",
    }
    server: dict[str, object] = {"sessions_dir": str(tmp_path / "sessions")}
    queues = "turns,calls,feedback,background"
    (tmp_path / "home").mkdir()
    with (
        Deployment(tmp_path / "home", request.param, server=server, settings=settings, queues=queues) as running,
        shown_when_it_fails(running),
    ):
        yield running


def in_rows(deployment: Deployment) -> set[str]:
    """Tables with the canary."""
    engine = create_engine(deployment.database_url)
    try:
        with engine.connect() as connection:
            tables = inspect(connection).get_table_names()
            rows = {one: connection.execute(text(f'SELECT * FROM "{one}"')).all() for one in tables}
            return {one for one, found in rows.items() if CANARY in repr([tuple(row) for row in found])}
    finally:
        engine.dispose()


def in_redis(deployment: Deployment) -> set[str]:
    """Keys with the canary, by the form that Redis itself would write to its disk."""
    client = deployment.redis
    return {key.decode() for key in client.keys("*") if CANARY.encode() in (client.dump(key) or b"")}


def in_files(folder: Path) -> set[str]:
    """Files with the canary, but for those of the database and of Redis, which are asked themselves."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    files = [path for path in files if "sqlite3" not in path.name and "redis" not in str(path)]
    return {path.name for path in files if CANARY.encode() in path.read_bytes()}


def receipt(client: ProtocolClient, thread_id: str) -> dict[str, Any] | None:
    found = client.request("erasure/list", {})["data"]
    return next((one["receipt"] for one in found if one["threadId"] == thread_id and one["doneAtMs"]), None)


def test_a_deleted_thread_leaves_nothing_but_a_receipt(deployment: Deployment, tmp_path: Path) -> None:
    client = deployment.connect()
    thread = client.request("thread/start")["thread"]
    thread_id = thread["id"]
    run_turn(client, thread_id, f"{command(f'echo {CANARY} | tee notes')} [[say {CANARY}]]")
    client.request("thread/name/set", {"threadId": thread_id, "name": CANARY})
    report = {"threadId": thread_id, "classification": "bug", "reason": CANARY, "includeLogs": True}
    client.request("feedback/upload", report)
    until(lambda: client.request("feedback/list", {})["data"][0]["status"] == "delivered")
    until(lambda: len(in_files(tmp_path)) == 3)  # what the command wrote, the report and the session file
    assert {"threads", "items", "feedback", "feedback_contents"} <= in_rows(deployment)
    assert in_redis(deployment)

    client.request("thread/delete", {"threadId": thread_id})

    until(lambda: receipt(client, thread_id) is not None)
    assert (in_rows(deployment), in_redis(deployment), in_files(tmp_path)) == (set(), set(), set())
    counted = receipt(client, thread_id) or {}
    expected = {"threads": 1, "turns": 1, "feedback": 1, "workspace_files": 1, "session_files": 1}
    assert expected.items() <= counted.items()
    assert counted["items"] > 2
    assert counted["events"] > 5
