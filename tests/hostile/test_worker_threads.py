"""Commands without an end leave the threads of a worker to other users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.deployment import Deployment, logs_shown_on_failure
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import run_turn, start_thread

THREADS = 8  # of the worker; calls may take 4 of them, and one user 2
SENT = 40


def test_endless_commands_of_one_user_leave_threads_for_calls_and_turns_of_another(tmp_path: Path) -> None:
    with (
        Deployment(tmp_path, server={"worker_concurrency": THREADS}) as deployment,
        logs_shown_on_failure(deployment),
    ):
        eve, ada = (deployment.connect(0, token=deployment.add_user(name)[1]) for name in ("eve", "ada"))
        endless = {"command": ["/bin/sh", "-c", "echo begun; sleep 86400"], "disableTimeout": True}
        sent = [
            eve.send_request("command/exec", {**endless, "processId": str(number), "streamStdoutStderr": True})
            for number in range(SENT)
        ]
        refused = [code for number, request_id in enumerate(sent) if (code := refusal(eve, request_id, str(number)))]

        assert set(refused) == {-32001}
        assert 1 <= SENT - len(refused) <= THREADS // 4
        thread = ada.request("thread/start", {})["thread"]
        assert ada.request("command/exec", {"command": ["/bin/echo", "served"]})["stdout"] == "served\n"
        assert "entries" in ada.request("fs/readDirectory", {"path": str(Path(thread["cwd"]).parent)})
        assert run_turn(ada, start_thread(ada), "[[say ok]]")["status"] == "completed"


def refusal(client: ProtocolClient, request_id: int, process_id: str) -> int | None:
    """Wait until the command has begun or was refused. Return the error's code; None: it runs."""

    def is_decided(frame: dict[str, Any]) -> bool:
        is_reply = frame.get("id") == request_id and "method" not in frame
        return is_reply or frame.get("params", {}).get("processId") == process_id

    decided = client.wait_for(is_decided)
    return None if "method" in decided else int(decided["error"]["code"])
