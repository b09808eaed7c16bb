"""Two users with keys share one worker: nobody waits behind somebody else's queue."""

from __future__ import annotations

from pathlib import Path

from tests.support.deployment import Deployment
from tests.support.protocol_client import ProtocolClient, connect
from tests.support.turns import start_thread, start_turn, wait_for_end


def test_a_user_with_a_long_queue_uses_every_place_and_gives_the_next_one_to_who_comes(tmp_path: Path) -> None:
    with Deployment(tmp_path, server={"worker_concurrency": 2}) as deployment:
        ann, bob = join(deployment, "ann"), join(deployment, "bob")
        queue = [start_turn(ann, start_thread(ann), f"[[pause a{number}]][[say ok]]") for number in range(6)]
        for place in ("a0", "a1"):
            deployment.model.wait_reached(place)
        turn = start_turn(bob, start_thread(bob), "[[pause b]][[say ok]]")

        deployment.model.release("a0")
        wait_for_end(ann, queue[0])
        deployment.model.wait_reached("b")
        running = deployment.store.turns.all_users_waiting()

        assert running == 4, "more turns run than there are places"
        for place in ("a1", "a2", "a3", "a4", "a5", "b"):
            deployment.model.release(place)
        wait_for_end(bob, turn)
        for one in queue:
            wait_for_end(ann, one)


def join(deployment: Deployment, name: str) -> ProtocolClient:
    """A client of a new user, who proves it by a key."""
    deployment.store.users.add(name)
    client = connect(deployment.urls[0].replace("http", "ws", 1), token=deployment.store.users.create_key(name, "test"))
    client.initialize()
    return client
