"""thread/delete: a worker removes what the database knows nothing of, and the receipt can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from shared.clock import now_ms
from shared.events import thread_channel
from shared.queue import SWEEP_RETENTION, make_celery
from shared.store.tables import threads
from shared.store.threads import LOADED_FOR_MS
from tests.support.deployment import Deployment
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.turns import command, run_turn, start_thread
from tests.support.wait import until


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Its worker serves background jobs, too."""
    with Deployment(tmp_path_factory.mktemp("erasure"), queues="turns,calls,background") as deployment:
        yield deployment


def test_a_deleted_thread_leaves_no_file_and_a_receipt(running: Deployment) -> None:
    client = running.connect()
    thread = client.request("thread/start")["thread"]
    thread_id, workspace = thread["id"], Path(thread["cwd"])
    run_turn(client, thread_id, "hello")
    client.request("command/exec", {"command": ["/bin/sh", "-c", "echo kept > notes"], "cwd": thread["cwd"]})
    assert (workspace / "notes").read_text() == "kept\n"

    client.request("thread/delete", {"threadId": thread_id})

    def receipt() -> dict[str, Any] | None:
        found = client.request("erasure/list", {})["data"]
        return next((one for one in found if one["threadId"] == thread_id and one["doneAtMs"]), None)

    until(lambda: receipt() is not None)
    assert not workspace.exists()
    assert (receipt() or {})["receipt"]["workspace_files"] == 1


def test_threads_that_are_not_kept_go_with_all_that_is_theirs_half_an_hour_after_the_last_look(
    running: Deployment,
) -> None:
    client, other = running.connect(), running.connect()
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
    until(lambda: not any(count for _, count in running.redis.pubsub_numsub(*channels)))

    with running.store.database.write() as connection:
        long_ago = now_ms() - LOADED_FOR_MS - 1000
        connection.execute(update(threads).where(threads.c.id.in_(started)).values(used_at_ms=long_ago))
    assert not started & loaded(client)
    make_celery(running.config.redis_url).send_task(SWEEP_RETENTION)

    until(lambda: not Path(ephemeral["cwd"]).exists())
    until(lambda: not running.redis.keys(f"*{ephemeral['id']}*"))
    for thread_id in (ephemeral["id"], empty):
        with pytest.raises(RpcError, match="thread not"):
            client.request("thread/read", {"threadId": thread_id})
    assert started & loaded(client) == {open_elsewhere}
    assert run_turn(other, open_elsewhere, "hello again")["status"] == "completed"
    assert client.request("thread/read", {"threadId": kept})["thread"]["status"] == {"type": "notLoaded"}


def loaded(client: ProtocolClient) -> set[str]:
    return set(client.request("thread/loaded/list", {})["data"])
