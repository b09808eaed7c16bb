"""A replica of Postgres is promoted, or Sentinels choose another Redis, in mid-turn: no turn is lost or stuck."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.watched import MESSAGES, RUN, WatchedTurn, check, check_next, disconnect, wait_for_ends, watch
from tests.support.deployment import Deployment, logs_shown_on_failure
from tests.support.postgres_pair import PostgresPair
from tests.support.redis_sentinels import RedisSentinels
from tests.support.turns import command, is_delta, start_turn

STREAMING, RUNNING, ASKING = 2, 2, 2  # turns in the middle of a text, of a command, and that wait for an approval
END_SECONDS = 60
SLOW_TEXT = f"[[say n=8 delay_ms=100 {MESSAGES[1]}]]"
SLOW_COMMAND = command(RUN.format(1).replace("sleep 0.15", "sleep 2"))
STREAM_SCRIPT = f"[[say {MESSAGES[0]}]]{command(RUN.format(1))}{SLOW_TEXT}{command(RUN.format(2))}[[say {MESSAGES[2]}]]"
COMMAND_SCRIPT = (
    f"[[say {MESSAGES[0]}]]{SLOW_COMMAND}[[say {MESSAGES[1]}]]{command(RUN.format(2))}[[say {MESSAGES[2]}]]"
)
APPROVAL = "item/commandExecution/requestApproval"
FailOver = Callable[[], Callable[[], None]]  # returns what makes the pair whole again


@pytest.fixture
def pair() -> Iterator[PostgresPair]:
    with PostgresPair() as pair:
        yield pair


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[RedisSentinels]:
    with RedisSentinels(tmp_path) as sentinels:
        yield sentinels


def test_promotion_of_a_postgres_replica_in_mid_turn(pair: PostgresPair, times: range, tmp_path: Path) -> None:
    def fail_over() -> Callable[[], None]:
        pair.fail_over()
        return pair.add_replica

    with Deployment(tmp_path, pair.url, api=2, workers=2) as deployment, logs_shown_on_failure(deployment):
        for _ in times:
            fail_over_in_mid_turn(deployment, fail_over)


@pytest.mark.parametrize("how", [RedisSentinels.kill_master, RedisSentinels.pause_master, RedisSentinels.exchange])
def test_failover_of_redis_in_mid_turn(
    sentinels: RedisSentinels, times: range, tmp_path: Path, how: Callable[[RedisSentinels], int]
) -> None:
    def fail_over() -> Callable[[], None]:
        port = how(sentinels)
        sentinels.wait_for_other_master(port)
        return lambda: sentinels.restart(port)

    environ = {"THREADHOUSE_REDIS_URL": sentinels.url}
    with (
        Deployment(tmp_path, "postgres", api=2, workers=2, environ=environ) as deployment,
        logs_shown_on_failure(deployment),
    ):
        for _ in times:
            fail_over_in_mid_turn(deployment, fail_over)


def fail_over_in_mid_turn(deployment: Deployment, fail_over: FailOver) -> None:
    """Begin turns, fail over when each is at its place, and check them at their end."""
    watched = watch(deployment, STREAMING + RUNNING + ASKING)
    streaming, running, asking = watched[:STREAMING], watched[STREAMING : STREAMING + RUNNING], watched[-ASKING:]
    for turn in asking:
        turn.turn_id = start_turn(turn.client, turn.thread_id, STREAM_SCRIPT, approvalPolicy="untrusted")
    asked = [(turn, wait_for(turn, is_approval)) for turn in asking]
    for turn in running:
        turn.start(COMMAND_SCRIPT)
    for turn in streaming:
        turn.start(STREAM_SCRIPT)
    for turn in running:
        wait_for(turn, lambda frame: is_delta(frame, "working"))
    for turn in streaming:
        wait_for(turn, lambda frame: is_delta(frame, MESSAGES[1][:2]))

    began_at = time.monotonic()
    make_whole = fail_over()
    print(f"failed over in {time.monotonic() - began_at:.1f} s")
    for client in {id(turn.client): turn.client for turn in asking}.values():
        client.answer = lambda request: {"decision": "accept"}
    for turn, request in asked:
        turn.client.send({"id": request["id"], "result": {"decision": "accept"}})

    wait_for_ends(watched, END_SECONDS)
    print(f"all turns ended {time.monotonic() - began_at:.1f} s after the failover began")
    unknown = sum(check(turn, repeated_to_streams=True) for turn in watched)
    print(f"{unknown} commands with unknown outcome")
    for turn in watched:
        check_next(turn)
    disconnect(watched)
    make_whole()


def wait_for(turn: WatchedTurn, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait for a frame of the turn's thread. Return it."""
    return turn.client.wait_for(
        lambda frame: "method" in frame and frame["params"].get("threadId") == turn.thread_id and wanted(frame)
    )


def is_approval(frame: dict[str, Any]) -> bool:
    return bool(frame["method"] == APPROVAL)
