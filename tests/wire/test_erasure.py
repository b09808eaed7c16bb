"""thread/delete removes rows at once, a worker removes the rest, and the receipt counts what was removed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text, update

from shared.clock import now_ms
from shared.event_names import thread_channel
from shared.queue import make_celery
from shared.store.tables import threads
from shared.store.threads import LOADED_FOR_MS
from tests.support.deployment import DATABASES, STEADY, Deployment, logs_shown_on_failure
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.turns import command, run_turn, start_thread
from tests.support.wait import until
from workers.tasks import sweep_retention

CANARY = "canary-51c2-whole"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that contains all files of the deployments."""
    return tmp_path_factory.mktemp("erasure")


@pytest.fixture(scope="module", params=DATABASES)
def running(request: pytest.FixtureRequest, folder: Path) -> Iterator[Deployment]:
    """A deployment whose worker also serves background jobs and feedback."""
    files = folder / request.param
    settings: dict[str, object] = {
        "feedback": {"sinks": ["database", "directory"], "directory": str(files / "reports")},
        "sandbox_mode": "workspace-write",
        "approval_policy": "never",
    }
    server = STEADY | {"sessions_dir": str(files / "sessions")}
    queues = "turns,calls,feedback,background"
    (files / "home").mkdir(parents=True)
    with Deployment(files / "home", request.param, server=server, settings=settings, queues=queues) as running:
        yield running


@pytest.fixture
def deployment(running: Deployment) -> Iterator[Deployment]:
    with logs_shown_on_failure(running):
        yield running


def in_rows(deployment: Deployment) -> set[str]:
    """Return the names of the tables that contain the canary."""
    engine = create_engine(deployment.database_url)
    try:
        with engine.connect() as connection:
            tables = inspect(connection).get_table_names()
            rows = {table: connection.execute(text(f'SELECT * FROM "{table}"')).all() for table in tables}
            return {table for table, found in rows.items() if CANARY in repr([tuple(row) for row in found])}
    finally:
        engine.dispose()


def in_redis(deployment: Deployment) -> set[str]:
    """Return the Redis keys whose dump (the form that Redis writes to disk) contains the canary."""
    client = deployment.redis
    client.config_set("rdbcompression", "no")
    return {key.decode() for key in client.keys("*") if CANARY.encode() in (client.dump(key) or b"")}


def in_files(folder: Path) -> set[str]:
    """Return the names of files that contain the canary, except those of the database and of Redis.

    `in_rows` and `in_redis` query these two.
    """
    found = set()
    for parent, _, names in os.walk(folder):  # it passes over a folder that goes meanwhile
        for path in (Path(parent, name) for name in names):
            with suppress(FileNotFoundError):  # a draft, which was renamed since it was listed
                if "sqlite3" in path.name or "redis" in str(path) or not path.is_file():
                    continue
                if CANARY.encode() in path.read_bytes():
                    found.add(path.name)
    return found


def receipt(client: ProtocolClient, thread_id: str) -> dict[str, Any] | None:
    """Return the receipt of a finished erasure, or None."""
    found = client.request("erasure/list", {})["data"]
    return next((row["receipt"] for row in found if row["threadId"] == thread_id and row["doneAtMs"]), None)


def test_deleting_a_thread_removes_everything_but_a_receipt(deployment: Deployment, folder: Path) -> None:
    client = deployment.connect()
    thread = client.request("thread/start")["thread"]
    thread_id = thread["id"]
    run_turn(client, thread_id, f"{command(f'echo {CANARY} | tee notes')} [[say {CANARY}]]")
    client.request("thread/name/set", {"threadId": thread_id, "name": CANARY})
    report = {"threadId": thread_id, "classification": "bug", "reason": CANARY, "includeLogs": True}
    client.request("feedback/upload", report)
    until(lambda: client.request("feedback/list", {})["data"][0]["status"] == "delivered")
    until(lambda: len(in_files(folder)) == 3)  # the file of the command, the report and the session file
    assert {"threads", "items", "feedback", "feedback_contents"} <= in_rows(deployment)
    assert in_redis(deployment)

    client.request("thread/delete", {"threadId": thread_id})

    until(lambda: receipt(client, thread_id) is not None)
    assert (in_rows(deployment), in_redis(deployment), in_files(folder)) == (set(), set(), set())
    counted = receipt(client, thread_id) or {}
    expected = {"threads": 1, "turns": 1, "feedback": 1, "workspace_files": 1, "session_files": 1}
    assert expected.items() <= counted.items()
    assert counted["items"] > 2
    assert counted["events"] > 5


def test_ephemeral_and_empty_threads_are_erased_half_an_hour_after_their_last_use(
    deployment: Deployment,
) -> None:
    client, other = deployment.connect(), deployment.connect()
    ephemeral = client.request("thread/start", {"ephemeral": True})["thread"]
    run_turn(client, ephemeral["id"], command("echo x > notes"))
    assert Path(ephemeral["cwd"], "notes").exists()
    empty, kept = start_thread(client), start_thread(client)
    run_turn(client, kept, "hello")
    started = {ephemeral["id"], empty, kept}
    assert started <= loaded(client)
    listed = {row["id"] for row in client.request("thread/list", {})["data"]}
    assert listed & started == {kept}
    for thread_id in (ephemeral["id"], empty, kept):
        assert client.request("thread/unsubscribe", {"threadId": thread_id}) == {"status": "unsubscribed"}
    open_elsewhere = start_thread(other)
    started.add(open_elsewhere)
    assert started <= loaded(client)
    channels = [thread_channel(thread_id) for thread_id in started - {open_elsewhere}]
    until(lambda: not any(count for _, count in deployment.redis.pubsub_numsub(*channels)))

    with deployment.store.database.write() as connection:
        long_ago = now_ms() - LOADED_FOR_MS - 1000
        connection.execute(update(threads).where(threads.c.id.in_(started)).values(used_at_ms=long_ago))
    assert not started & loaded(client)
    make_celery(deployment.config.redis_url).send_task(sweep_retention.NAME)

    until(lambda: not Path(ephemeral["cwd"]).exists())
    until(lambda: not deployment.redis.keys(f"*{ephemeral['id']}*"))
    for thread_id in (ephemeral["id"], empty):
        with pytest.raises(RpcError, match="thread not"):
            client.request("thread/read", {"threadId": thread_id})
    assert started & loaded(client) == {open_elsewhere}
    assert run_turn(other, open_elsewhere, "hello again")["status"] == "completed"
    assert client.request("thread/read", {"threadId": kept})["thread"]["status"] == {"type": "notLoaded"}


def loaded(client: ProtocolClient) -> set[str]:
    return set(client.request("thread/loaded/list", {})["data"])
