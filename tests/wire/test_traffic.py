"""What a trivial turn costs in the hosted shape, counted between the processes: nearly the same on any machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.deployment import Deployment, logs_shown_on_failure
from tests.support.traffic import Traffic
from tests.support.turns import run_turn, start_thread

ROUNDS, TURNS = (
    5,
    4,
)  # the cheapest round counts: what else happens meanwhile, such as a look at keys, is no turn's cost
QUIET = {"lease_seconds": 60, "renewal_seconds": 20, "sweep_seconds": 600}  # keys of [server]
# A turn. On a slow machine what is published is marked with transactions of its own.
MOST = {
    "Postgres round trips": 16,
    "Postgres statements": 48,
    "Redis round trips": 8,
    "Redis commands": 32,
}
SCRIPT = "[[say Done.]]"


def test_a_trivial_turn_asks_little_of_postgres_and_redis(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, "postgres", api=2, workers=2, server=QUIET, proxied=True)
    postgres, redis = Traffic(is_postgres=True), Traffic()
    assert deployment.database_proxy is not None
    assert deployment.redis_proxy is not None
    deployment.database_proxy.observer, deployment.redis_proxy.observer = postgres.observe, redis.observe
    with deployment, logs_shown_on_failure(deployment):
        _, key = deployment.add_user("ada")
        client = deployment.connect(0, token=key)
        thread_id = start_thread(client)
        for _ in range(20):  # connections are made, and statements prepared
            run_turn(client, thread_id, SCRIPT)

        rounds = []
        for _ in range(ROUNDS):
            postgres.reset()
            redis.reset()
            commands = count_commands(deployment)
            for _ in range(TURNS):
                run_turn(client, thread_id, SCRIPT)
            counts = (
                postgres.round_trips,
                postgres.statements,
                redis.round_trips,
                count_commands(deployment) - commands,
            )
            rounds.append([count / TURNS for count in counts])

    measured = dict(zip(MOST, map(min, zip(*rounds, strict=True)), strict=True))
    print(", ".join(f"{name} {number:g}" for name, number in measured.items()))
    assert {name: number for name, number in measured.items() if not 1 < number <= MOST[name]} == {}


def count_commands(deployment: Deployment) -> int:
    """Return how many commands Redis has run so far, those of its scripts too."""
    stats: Any = deployment.redis.info("commandstats")
    return sum(one["calls"] for one in stats.values())
