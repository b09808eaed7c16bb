"""thread/delete: a worker removes what the database knows nothing of, and the receipt can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment
from tests.support.turns import run_turn
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
