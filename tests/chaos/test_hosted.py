"""The hosted shape as a whole: a user works while another one attacks, the database stalls and the workers die."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import websocket

from tests.support.deployment import Deployment, logs_shown_on_failure
from tests.support.protocol_client import ConnectionLost, ProtocolClient, RpcError
from tests.support.turns import command, run_turn, start_thread, start_turn, wait_for_end
from tests.support.wait import until

TURNS = 12
END_SECONDS = 60
REFUSED = 100  # requests at least, so that the attack was one
PROBED = ("thread/read", "thread/backgroundTerminals/list", "thread/backgroundTerminals/clean", "thread/delete")
LEFT = {"cmd": "while :; do sleep 1; done", "login": False, "yield_time_ms": 250}
SCRIPT = command("echo begun >> probe; echo ended >> probe") + "[[say Done.]]"


@dataclass
class Attack:
    """What Eve has done. target: a thread of Ada's; reached: the methods that answered for it"""

    target: str
    refused: int = 0
    reached: list[str] = field(default_factory=list)


@pytest.mark.timeout(600)
def test_a_user_works_beside_an_attacker_a_stall_and_dying_workers(tmp_path: Path) -> None:
    with (
        Deployment(tmp_path, "postgres", api=2, workers=2, proxied=True) as deployment,
        logs_shown_on_failure(deployment),
    ):
        (_, adas_key), (_, eves_key) = deployment.add_user("ada"), deployment.add_user("eve")
        ada = deployment.connect(0, token=adas_key)
        run_turn(ada, start_thread(ada), SCRIPT)

        alone = measure(deployment, ada)
        with attacked(deployment, eves_key, start_thread(ada)) as attack:
            beside = measure(deployment, ada)
            survive_faults(deployment, ada)
            afterwards = measure(deployment, ada)
            until(lambda: attack.refused > REFUSED)

        print(f"a turn alone: {1000 * alone:.0f} ms; beside an attacker: {beside / alone:.1f} times as long; ", end="")
        print(
            f"after the faults, beside the attacker: {afterwards / alone:.1f} times; {attack.refused} requests refused"
        )
        assert attack.reached == []


def measure(deployment: Deployment, ada: ProtocolClient) -> float:
    """Run turns one after the other, each command once. Return the median of their seconds."""
    took = []
    for _ in range(TURNS):
        thread = ada.request("thread/start", {})["thread"]
        began_at = time.monotonic()
        assert run_turn(ada, thread["id"], SCRIPT)["status"] == "completed"
        took.append(time.monotonic() - began_at)
        probe = deployment.config.server.workspaces_dir / Path(*Path(thread["cwd"]).parts[-2:]) / "probe"
        assert probe.read_text().split() == ["begun", "ended"]
    return statistics.median(took)


@contextmanager
def attacked(deployment: Deployment, key: str, target: str) -> Iterator[Attack]:
    """Eve leaves endless commands behind, and tries to reach a thread of Ada's as fast as she can."""
    attack, stopped = Attack(target), threading.Event()

    def run() -> None:
        while not stopped.is_set():
            with suppress(ConnectionLost, RpcError, OSError, websocket.WebSocketException):
                eve = deployment.connect(1, token=key)
                for _ in range(4):
                    start_turn(eve, start_thread(eve), f"[[tool exec_command {json.dumps(LEFT)}]]" * 3)
                while not stopped.is_set():
                    for method in PROBED:
                        probe(eve, attack, method)

    attacker = threading.Thread(target=run, daemon=True)
    attacker.start()
    try:
        until(lambda: attack.refused)
        yield attack
    finally:
        stopped.set()
        attacker.join(END_SECONDS)


def probe(eve: ProtocolClient, attack: Attack, method: str) -> None:
    try:
        eve.request(method, {"threadId": attack.target})
    except RpcError as error:
        attack.refused += "not found" in error.message
    else:
        attack.reached.append(method)


def survive_faults(deployment: Deployment, ada: ProtocolClient) -> None:
    """Stall the database, then kill the workers, while a turn of Ada's runs a command: the turn completes."""
    turn_id = start_turn(ada, start_thread(ada), command("echo working; sleep 600") + "[[say Done.]]")
    ada.wait_for(lambda frame: frame.get("params", {}).get("delta") == "working\n")
    assert deployment.database_proxy is not None
    deployment.database_proxy.pause()
    until(lambda: any(worker.has_logged("no answer for") for worker in deployment.workers))
    deployment.database_proxy.heal()
    for worker in deployment.workers:
        worker.kill()
        worker.start()
    assert wait_for_end(ada, turn_id, END_SECONDS)["status"] == "completed"
