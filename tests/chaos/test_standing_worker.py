"""A worker that stands still for longer than its lease: nothing of it runs beside the worker that takes over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from tests.chaos import test_mcp
from tests.chaos.watched import UNKNOWN, check_next, watch
from tests.support import processes
from tests.support.deployment import Deployment
from tests.support.turns import command, is_delta, run_turn
from tests.support.wait import until

END_SECONDS = 60.0
LEASE_SECONDS = 6
SECONDS = 60  # of the first command, if nothing ended it
FIRST = f"echo working; for i in $(seq {10 * SECONDS}); do echo first >> probe; sleep 0.1; done"
SECOND = "for i in $(seq 10); do echo second >> probe; sleep 0.1; done"


def test_command_of_a_worker_that_stands_still_ends_before_another_one_goes_on(
    deploy: Callable[..., Deployment], times: range
) -> None:
    deployment = deploy(server={"lease_seconds": LEASE_SECONDS})
    for _ in times:
        (turn,) = watch(deployment, 1)
        turn.start(f"{command(FIRST)}{command(SECOND)}[[say end]]")
        turn.client.wait_for(lambda frame: is_delta(frame, "working"))
        (standing,) = deployment.workers
        deployment.pause_worker(standing)
        other = deployment.add_worker()

        assert turn.wait_for_end(END_SECONDS)["status"] == "completed"

        lines = turn.probe()
        assert lines == sorted(lines), "the first command wrote after the second had begun"
        assert lines.count("second") == 10
        assert UNKNOWN in turn.outputs()[0]
        standing.resume()
        until(lambda standing=standing: standing.has_logged("claim lost"))  # type: ignore[misc]
        assert turn.probe() == lines
        check_next(turn)
        standing.kill()
        deployment.workers[:] = [other]


def test_terminals_and_mcp_programs_of_a_worker_that_stands_still_end(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(server={"lease_seconds": LEASE_SECONDS})
    (standing,) = deployment.workers
    client = deployment.connect()
    folder = deployment.home / "work"
    folder.mkdir()
    child, left = (f"100000.{time.monotonic_ns()}{number}" for number in range(2))
    thread_id = test_mcp.start(client, folder, f"sleeps={child}")
    call = {"cmd": f"sleep {left}", "login": False, "yield_time_ms": 300}
    script = f"{test_mcp.call('child')}[[tool exec_command {json.dumps(call)}]][[say Left running.]]"
    run_turn(client, thread_id, script)
    time.sleep(LEASE_SECONDS + 1)  # both run on as long as their worker does
    assert processes.is_running(child)
    assert processes.is_running(left)

    deployment.pause_worker(standing)

    until(lambda: not processes.is_running(child) and not processes.is_running(left))
    assert standing.is_paused()
