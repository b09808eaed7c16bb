"""What operators see when something stands still: `turn`, `workers`, `doctor`, `/readyz` and `/statusz`."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared.logs import turn_logs
from shared.queue import QUEUES
from tests.support.deployment import PATIENT, Deployment, logs_shown_on_failure
from tests.support.turns import command, start_thread, start_turn, wait_for_end
from tests.support.wait import until


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    settings = {"limits": {"turns_at_once": 1}}
    made = Deployment(tmp_path, "postgres", server=PATIENT, settings=settings, queues=",".join(QUEUES))
    with made, logs_shown_on_failure(made):
        yield made


def threadhouse(deployment: Deployment, *words: str) -> subprocess.CompletedProcess[str]:
    program = (sys.executable, "-P", "-m", "api.cli", *words)
    return subprocess.run(program, env=deployment.environ, capture_output=True, text=True, timeout=120, check=False)


def turn(deployment: Deployment, turn_id: str) -> dict[str, Any]:
    shown = threadhouse(deployment, "turn", turn_id, "--json")
    assert shown.returncode == 0, shown.stderr
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def wait_for_cause(deployment: Deployment, turn_id: str, cause: str) -> str:
    """Wait until the turn waits for this. Return what an operator reads of it."""
    listed = partial(deployment.store.open_turns.all_users_list, turns_at_once=1, turn_id=turn_id)
    until(lambda: [found.cause for found in listed()] == [cause], seconds=60)
    return str(turn(deployment, turn_id)["why"])


def status(deployment: Deployment) -> tuple[int, dict[str, str]]:
    """Return the HTTP status of `/statusz`, and name → message of what is not ok, once it was found out in time."""
    answers: list[tuple[int, dict[str, Any]]] = []

    def is_complete() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", deployment.ports[0], timeout=60)
        connection.request("GET", "/statusz")
        response = connection.getresponse()
        answers.append((response.status, json.loads(response.read())))
        connection.close()
        return "checks" in answers[-1][1]

    until(is_complete, seconds=60)
    code, body = answers[-1]
    return code, {check["name"]: check["message"] for check in body["checks"] if not check["ok"]}


def workers(deployment: Deployment) -> list[dict[str, Any]]:
    return [json.loads(line) for line in threadhouse(deployment, "workers", "--json").stdout.splitlines()]


def log_lines(deployment: Deployment, turn_id: str) -> list[str]:
    """Return the log lines of a turn that the workers have kept."""
    return turn_logs.read(deployment.redis, [turn_id])


def in_order(lines: list[str], *events: str) -> bool:
    """Return whether these events are in the lines, in this order; others may be between them."""
    rest = iter(lines)
    return all(any(event in line for line in rest) for event in events)


def test_the_story_of_a_turn_that_stands_still_again_and_again(deployment: Deployment, tmp_path: Path) -> None:
    client = deployment.connect()
    (worker,) = deployment.workers
    deployment.add_beat()
    until(lambda: status(deployment)[1].keys() <= {"disk"}, seconds=60)  # which may be that of any machine
    (listed,) = workers(deployment)
    assert (listed["state"], listed["turns"]) == ("ready", 0)

    folder = tmp_path / "work"
    folder.mkdir()
    wait = command("while [ ! -e go ]; do sleep 0.1; done")
    first = start_turn(client, start_thread(client, cwd=str(folder)), f"[[pause model]]{wait}")
    deployment.model.wait_reached("model")
    wait_for_cause(deployment, first, "model")
    second = start_turn(client, start_thread(client), "[[say done]]")
    assert "may run 1 at once" in wait_for_cause(deployment, second, "limit")

    worker.stop()
    assert "`threadhouse worker`" in wait_for_cause(deployment, first, "noWorker")
    assert [row for row in workers(deployment) if row["state"] == "ready"] == []
    code, problems = status(deployment)
    assert code == 503
    assert problems["workers"].startswith("no worker serves turns, calls, feedback, background")
    examined = threadhouse(deployment, "doctor")
    assert examined.returncode == 1
    assert "failed  workers: no worker serves turns" in examined.stdout

    deployment.start_worker(worker)
    deployment.model.wait_reached("model", count=2)
    until(lambda: in_order(log_lines(deployment, first), "turn requeued", "turn continued"))
    worker.kill()
    assert "let the lease run out" in wait_for_cause(deployment, first, "lostWorker")
    deployment.start_worker(worker)
    deployment.model.release("model")
    assert "exec_command runs for" in wait_for_cause(deployment, first, "tool")
    (folder / "go").touch()
    assert [wait_for_end(client, turn_id)["status"] for turn_id in (first, second)] == ["completed", "completed"]

    until(lambda: in_order(log_lines(deployment, first), "turn completed"))
    story = turn(deployment, first)
    assert in_order(story["log"], "turn claimed", "turn requeued", "turn continued", "worker lost", "turn continued")
    assert in_order(story["log"], "model answered", "tool call answered", "model answered", "turn completed")
    assert story["state"] == "completed"
    assert story["timeline"][-1]["what"] == "completed"


PAGE = Path(__file__).parents[2] / "docs" / "OPERATIONS.md"
CHANGING = (
    r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b",
    r"\S+:\d+:[0-9a-f]{12}",
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?",
    r"\d+",
)


def parts(shown: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Return what `turn` shows: facts, timeline and log lines, without what differs from run to run.

    That are ids, names of workers, times and numbers. Moments of one millisecond have no order, and an item that is
    whole at once has no moment in which it started.
    """
    for pattern in CHANGING:
        shown = [re.sub(pattern, "…", line.strip()) for line in shown]
    logged = [line for line in shown if " INFO " in line or " WARNING " in line]
    moments = [line for line in shown if line.startswith("…  ") and not line.endswith(" started")]
    return [line for line in shown if line and not line.startswith("…")], sorted(moments), logged


def test_the_page_shows_the_log_of_a_turn_as_it_is(tmp_path: Path) -> None:
    with Deployment(tmp_path, workers=2, server=PATIENT) as deployment, logs_shown_on_failure(deployment):
        client = deployment.connect()
        script = f"[[say I look first.]]{command('ls')}[[pause answer]][[say That is all.]]"
        turn_id = start_turn(client, start_thread(client), script, approvalPolicy="untrusted")
        asked = client.wait_for_method("item/commandExecution/requestApproval")
        client.send({"id": asked["id"], "result": {"decision": "accept"}})
        deployment.model.wait_reached("answer")
        until(lambda: in_order(log_lines(deployment, turn_id), "tool call answered"))
        name = str(turn(deployment, turn_id)["worker"])
        (holder,) = (worker for worker in deployment.workers if worker.pid == int(name.split(":")[1]))
        holder.kill()
        deployment.model.wait_reached("answer", count=2)
        deployment.model.release("answer")
        assert wait_for_end(client, turn_id)["status"] == "completed"
        until(lambda: in_order(log_lines(deployment, turn_id), "turn completed"))
        shown = threadhouse(deployment, "turn", turn_id).stdout

    _, _, chapter = PAGE.read_text().partition("\n## The log of one turn\n")
    written = [line for line in chapter.partition("\n## ")[0].splitlines() if line.startswith("    ")]
    assert parts(written[1:]) == parts(shown.splitlines())
