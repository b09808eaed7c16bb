"""Redis loses everything, or dies and comes back, in mid-turn: the turn ends, and who follows catches up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.watched import MESSAGES, RUN, Watched, check, check_next, hang_up, wait_for_ends, watch
from tests.support.deployment import Deployment
from tests.support.turns import command, is_delta

TURNS = 3
END_SECONDS = 30
SLOW = f"[[say n=8 delay_ms=100 {MESSAGES[1]}]]"  # so that the outage comes while text flows
SCRIPT = f"[[say {MESSAGES[0]}]]{command(RUN.format(1))}{SLOW}{command(RUN.format(2))}[[say {MESSAGES[2]}]]"

OUTAGES: dict[str, Callable[[Deployment], object]] = {
    "flushed": lambda deployment: deployment.redis.flushall(),
    "restarted": lambda deployment: deployment.restart_redis(emptied=False),
    "emptied": lambda deployment: deployment.restart_redis(emptied=True),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_of_redis_loses_nothing_that_is_stored(
    deploy: Callable[..., Deployment], times: range, outage: str
) -> None:
    deployment = deploy(api=2, workers=2)

    for _ in times:
        watched = watch(deployment, TURNS)
        for one in watched:
            one.start(SCRIPT)
        for one in watched:
            one.client.wait_for(lambda frame, one=one: is_slow_text(frame, one))  # type: ignore[misc]

        OUTAGES[outage](deployment)

        wait_for_ends(watched, END_SECONDS)
        for one in watched:
            assert check(one, repeated_to_streams=True) == 0
        for one in watched:
            check_next(one)
        hang_up(watched)


def test_a_turn_whose_bell_was_lost_is_found_by_the_sweep(deploy: Callable[..., Deployment], times: range) -> None:
    deployment = deploy(workers=1)
    (worker,) = deployment.workers

    for _ in times:
        watched = watch(deployment, 1)
        worker.kill()
        watched[0].start()
        deployment.redis.flushall()
        deployment.start_worker(worker)

        wait_for_ends(watched, END_SECONDS)
        assert check(watched[0]) == 0
        hang_up(watched)


def is_slow_text(frame: dict[str, object], one: Watched) -> bool:
    return is_delta(frame, MESSAGES[1][:2]) and frame["params"]["threadId"] == one.thread_id  # type: ignore[index]
