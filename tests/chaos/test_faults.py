"""Faults of the database and of Redis in each phase of a turn: it ends in time, no output is lost, no command repeated.

Each combination of a fault and a phase runs N times (`make chaos N=20`); with N=1, as in CI, a sample that the seed
chooses runs once (`THREADHOUSE_CHAOS_SEED`). The times from the end of the fault to the end of the turns are printed.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shared.queue import BROKER_SECONDS
from tests.chaos.conftest import TIMES
from tests.chaos.watched import WatchedTurn, check, disconnect, watch
from tests.support import postgres
from tests.support.deployment import Deployment, logs_shown_on_failure
from tests.support.fault_proxy import FaultProxy
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.turns import run_turn, start_thread
from tests.support.wait import until

SEED = int(os.environ.get("THREADHOUSE_CHAOS_SEED") or 20_261_128)
SERVER = {"lease_seconds": 12, "renewal_seconds": 1, "sweep_seconds": 0.5}
END_SECONDS = SERVER["lease_seconds"] + SERVER["sweep_seconds"] + 60  # from the end of a fault to the end of its turns
SHORT_SECONDS, READ_ONLY_SECONDS, LONG_SECONDS = 2.0, 4.0, SERVER["lease_seconds"] + 3
DELAY_SECONDS = 0.1
CUT_SECONDS = 5.0  # until a connection is cut; some phases send nothing that could be cut
ANSWER_AGAIN_SECONDS = 1.0
HEARD_SECONDS = 60.0  # until a follower has the end: a subscription that fell silent is replaced after 20 s
TURNS = 2
REQUESTS = 30  # at once, more than a process has connections to the database
UNAVAILABLE = -32001

ASKING = ("park", "answer")  # phases of turns whose commands must be allowed
PHASES = {
    "claim": "before_claim",
    "begin": "after_claim",
    "call begins": "before_begun",
    "in command": "mid_command",
    "call ends": "before_ended",
    "stream": "mid_stream",
    "park": "before_park",
    "answer": "",
    "final commit": "before_final_commit",
    "publish": "before_publish",
}  # phase → the fault point at which the worker waits until the fault has begun


@dataclass(frozen=True)
class Fault:
    """Something that fails for a while.

    seconds:         how long; None: until a connection is cut
    loses_authority: whether it lasts longer than a lease, so that the outcome of a running command is unknown
    noticed_seconds: after which a silent connection is noticed, where that does not depend on the lease
    """

    begin: Callable[[Setup, WatchedTurn], object]
    end: Callable[[Setup], object]
    seconds: float | None = SHORT_SECONDS
    loses_authority: bool = False
    noticed_seconds: float = 0.0


@dataclass
class Setup:
    """A deployment whose processes reach the database and Redis through proxies."""

    deployment: Deployment
    folder: Path
    times: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    held_lock: sqlite3.Connection | None = None

    @property
    def database(self) -> FaultProxy:
        assert self.deployment.database_proxy is not None
        return self.deployment.database_proxy

    @property
    def redis(self) -> FaultProxy:
        assert self.deployment.redis_proxy is not None
        return self.deployment.redis_proxy

    def fail_over(self) -> None:
        """Let all processes reach a server that is read-only."""
        postgres.set_read_only(self.deployment.database_url, True)
        self.database.reset()

    def lock(self) -> None:
        self.held_lock = sqlite3.connect(self.deployment.home / "threadhouse.sqlite3", isolation_level=None, timeout=20)
        self.held_lock.execute("BEGIN IMMEDIATE")

    def unlock(self) -> None:
        assert self.held_lock is not None
        self.held_lock.rollback()
        self.held_lock.close()


def of_proxy(
    proxy: Callable[[Setup], FaultProxy], request: bytes, about: Callable[[WatchedTurn], str], reply: bytes = b""
) -> dict[str, Fault]:
    """Return the faults of a connection. request, about, reply: as of FaultProxy.cut_behind"""

    def cut(setup: Setup, turn: WatchedTurn) -> None:
        proxy(setup).cut_behind(request, about(turn).encode(), reply)

    def heal(setup: Setup) -> None:
        proxy(setup).heal()

    return {
        "pause": Fault(lambda setup, _: proxy(setup).pause(), heal),
        "drop": Fault(lambda setup, _: proxy(setup).drop(), heal),
        "reset": Fault(lambda setup, _: proxy(setup).reset(), heal, 0),
        "refuse": Fault(lambda setup, _: proxy(setup).refuse(), heal),
        "delay": Fault(lambda setup, _: proxy(setup).delay(DELAY_SECONDS), heal),
        "cut behind": Fault(cut, heal, None),
        "long pause": Fault(lambda setup, _: proxy(setup).pause(), heal, LONG_SECONDS, loses_authority=True),
    }


FAULTS: Mapping[str, Mapping[str, Fault]] = {
    "postgres": {
        **of_proxy(lambda setup: setup.database, b"COMMIT", lambda turn: turn.turn_id, b"COMMIT"),
        "read-only": Fault(
            lambda setup, _: setup.fail_over(),
            lambda setup: postgres.set_read_only(setup.deployment.database_url, False),
            READ_ONLY_SECONDS,
        ),
    },
    "redis": {
        **of_proxy(lambda setup: setup.redis, b"EVALSHA", lambda turn: turn.thread_id),
        "drop": Fault(
            lambda setup, _: setup.redis.drop(), lambda setup: setup.redis.heal(), noticed_seconds=5 * BROKER_SECONDS
        ),
    },
    "sqlite": {"locked": Fault(lambda setup, _: setup.lock(), lambda setup: setup.unlock())},
}
SAMPLES = {"postgres": 8, "redis": 4, "sqlite": 2}  # combinations that run with N=1


@pytest.mark.parametrize("server", FAULTS)
@pytest.mark.timeout(300 + 90 * 80 * TIMES)
def test_fault_in_any_phase_of_a_turn_loses_nothing(setup: Setup, server: str) -> None:
    combinations = [(fault, phase) for fault in FAULTS[server] for phase in PHASES] * TIMES
    rng = random.Random(SEED)
    rng.shuffle(combinations)
    if TIMES == 1:
        combinations = combinations[: SAMPLES[server]]
    print(f"{len(combinations)} combinations with THREADHOUSE_CHAOS_SEED={SEED}")
    try:
        for fault, phase in combinations:
            print(f"{server}: {fault} in {phase}", flush=True)
            setup.times[fault, phase].append(fail_once(setup, FAULTS[server][fault], phase))
    finally:
        print_times(server, setup.times)


@pytest.mark.timeout(300)
def test_request_is_answered_while_the_database_is_silent(tmp_path: Path) -> None:
    with Deployment(tmp_path, "postgres", workers=0, proxied=True) as deployment, logs_shown_on_failure(deployment):
        assert deployment.database_proxy is not None
        clients = [deployment.connect() for _ in range(REQUESTS)]
        thread_id = start_thread(clients[0])

        deployment.database_proxy.pause()
        sent = [client.send_request("thread/read", {"threadId": thread_id}) for client in clients]
        for client, request_id in zip(clients, sent, strict=True):
            with pytest.raises(RpcError) as refused:
                client.result(request_id)
            assert refused.value.code == UNAVAILABLE
        deployment.database_proxy.heal()

        for client in clients:
            assert client.request("thread/read", {"threadId": thread_id})["thread"]["id"] == thread_id


@pytest.fixture
def setup(server: str, tmp_path: Path) -> Iterator[Setup]:
    faults = ";".join(f"{point}:hold@{tmp_path / point}" for point in PHASES.values() if point)
    deployment = Deployment(
        tmp_path,
        "sqlite" if server == "sqlite" else "postgres",
        workers=2,
        server=SERVER,
        environ={"THREADHOUSE_FAULT": faults},
        proxied=True,
    )
    with deployment, logs_shown_on_failure(deployment):
        yield Setup(deployment, tmp_path)


def fail_once(setup: Setup, fault: Fault, phase: str) -> float:
    """Let turns run into a fault, and check them. Return the seconds from its end to the end of the last turn."""
    asks = phase in ASKING
    watched = watch(setup.deployment, TURNS, **({"approvalPolicy": "untrusted"} if asks else {}))
    point = setup.folder / PHASES[phase] if PHASES[phase] else None
    reached = setup.folder / f"{PHASES[phase]}.reached"
    if point is not None:
        point.touch()
    for turn in watched:
        turn.start()
    if point is not None:
        until(reached.exists)
    else:
        for turn in watched:
            until(lambda: pending_request(setup, turn))  # noqa: B023

    fault.begin(setup, watched[0])
    if point is not None:
        reached.unlink()
    if phase == "answer":
        answer(setup, watched)
    begun_s = time.monotonic()
    if fault.seconds is None:
        until(lambda: has_cut(setup) or time.monotonic() > begun_s + CUT_SECONDS)
    else:
        until(lambda: time.monotonic() >= begun_s + (fault.seconds or 0))
    fault.end(setup)

    took = wait_for_ends(setup, watched, time.monotonic(), END_SECONDS + fault.noticed_seconds)
    unknown = 0
    for turn in watched:
        turn.wait_for_end(HEARD_SECONDS)
        unknown += check(turn)
    if not fault.loses_authority:
        assert unknown == 0, "the output of a command was lost"
    client = watched[0].client
    until(lambda: is_served(client))
    assert run_turn(client, start_thread(client), "[[say next]]")["status"] == "completed"
    disconnect(watched)
    return took


def is_served(client: ProtocolClient) -> bool:
    """Return whether the API stores something. The first request after a failover meets connections of before."""
    try:
        start_thread(client)
    except RpcError as error:
        if error.code != UNAVAILABLE:
            raise
        return False
    return True


def has_cut(setup: Setup) -> bool:
    proxies = (setup.deployment.database_proxy, setup.deployment.redis_proxy)
    return any(proxy is not None and proxy.has_cut.is_set() for proxy in proxies)


def wait_for_ends(setup: Setup, watched: list[WatchedTurn], healed_s: float, seconds: float) -> float:
    """Wait until the turns have ended, and answer what they ask. Return the seconds since the fault ended."""
    answered_s = 0.0

    def have_ended() -> bool:
        nonlocal answered_s
        if time.monotonic() > answered_s + ANSWER_AGAIN_SECONDS:
            answered_s = time.monotonic()
            answer(setup, watched)
        return all(setup.deployment.store.turns.get(turn.turn_id, "local").done for turn in watched)

    until(have_ended, seconds=seconds)
    return time.monotonic() - healed_s


def pending_request(setup: Setup, turn: WatchedTurn) -> int | None:
    """Return the id of the request whose answer the turn waits for, once it is published."""
    requests = setup.deployment.store.approvals.of_turn(turn.turn_id)
    return next((one.id for one in requests if one.state == "pending" and one.published_state), None)


def answer(setup: Setup, watched: list[WatchedTurn]) -> None:
    """Allow the commands that the turns ask for. An answer that a fault has swallowed is given again."""
    for turn in watched:
        request_id = pending_request(setup, turn)
        if request_id is not None:
            turn.client.send({"id": request_id, "result": {"decision": "accept"}})


def print_times(server: str, times: Mapping[tuple[str, str], list[float]]) -> None:
    print(f"\n{server}: seconds from the end of the fault to the end of its turns, median / most (times)")
    for fault in FAULTS[server]:
        for phase in PHASES:
            if took := sorted(times.get((fault, phase), [])):
                print(f"  {fault:11} {phase:13} {took[len(took) // 2]:5.1f} / {took[-1]:5.1f} ({len(took)})")
