"""Two users with API keys share one worker: no user waits for the whole queue of another."""

from __future__ import annotations

from pathlib import Path

from tests.support.deployment import STEADY, Deployment
from tests.support.protocol_client import ProtocolClient, connect
from tests.support.turns import start_thread, start_turn, wait_for_end


def test_the_next_free_slot_goes_to_the_user_without_running_turns(tmp_path: Path) -> None:
    with Deployment(tmp_path, server=STEADY | {"worker_concurrency": 2}) as deployment:
        ann, bob = join(deployment, "ann"), join(deployment, "bob")
        queue = [start_turn(ann, start_thread(ann), f"[[pause a{number}]][[say ok]]") for number in range(6)]
        for name in ("a0", "a1"):
            deployment.model.wait_reached(name)
        turn = start_turn(bob, start_thread(bob), "[[pause b]][[say ok]]")

        deployment.model.release("a0")
        wait_for_end(ann, queue[0])
        deployment.model.wait_reached("b")
        running = deployment.store.recovery.all_users_count_phases()["queued"][0]

        assert running == 4, "more turns run than the worker has slots"
        for name in ("a1", "a2", "a3", "a4", "a5", "b"):
            deployment.model.release(name)
        wait_for_end(bob, turn)
        for queued in queue:
            wait_for_end(ann, queued)


def join(deployment: Deployment, name: str) -> ProtocolClient:
    """Create a user with an API key. Return a client that is authenticated by it."""
    deployment.store.users.add(name)
    client = connect(deployment.urls[0].replace("http", "ws", 1), token=deployment.store.users.create_key(name, "test"))
    client.initialize()
    return client
