"""What operators and a client see of each fault: `doctor`, `/readyz`, `/statusz`, alerts, `turn`; printed as tables."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from tests.support import alerts, metric_pages
from tests.support.deployment import PATIENT, Deployment, Process, logs_shown_on_failure
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.turns import command, run_turn, start_thread, start_turn, wait_for_end
from tests.support.wait import until

SECONDS = 120.0  # for a surface to show a fault, on a busy machine
OF_ANY_MACHINE = {"disk", "memory", "clock"}  # checks that may fail on the machine of the tests whatever is tested
QUOTA = 1 << 20
BROKEN_BWRAP = "#!/bin/sh\necho --ro-bind-fd\nexit 1\n"


@dataclass(frozen=True)
class Seen:
    """What the surfaces say of one fault.

    doctor, statusz: names of the checks that fail; statusz "(no answer)": it cannot find out
    readyz:          HTTP status; 0: the process does not answer
    alerts:          without their prefix, and without their `for`
    """

    readyz: int
    statusz: str = ""
    doctor: str = ""
    alerts: str = ""


HEALTHY = Seen(200)


class Surfaces:
    """The surfaces of a deployment, and the table of what they said."""

    def __init__(self, deployment: Deployment, first_port: int, key: str) -> None:
        """key: API key of an admin."""
        self._deployment = deployment
        self._headers = {"Authorization": f"Bearer {key}"}
        self._ports: set[int] = set()
        self._first_port = first_port
        self._rows = [("fault", *(field.name for field in fields(Seen)), "client")]

    def find_pages(self, services: list[str]) -> None:
        """Wait until these services, and no others, have pages with metrics."""

        def is_complete() -> bool:
            found = metric_pages.find_ports(self._first_port, str(self._deployment.home))
            self._ports |= found.keys()
            return sorted(found.values()) == sorted(f"threadhouse-{service}" for service in services)

        until(is_complete, seconds=SECONDS)

    def expect(self, fault: str, seen: Seen, client: str, words: str = "ok") -> None:
        """Wait until the surfaces say this, and add it to the table with what a client saw, which has these words."""
        assert words in client, f"{fault}: a client sees: {client}"
        last: list[object] = []

        def says(name: str, look: Callable[[], object]) -> None:
            def is_said() -> bool:
                last[:] = [look()]
                return last[0] == getattr(seen, name)

            try:
                until(is_said, seconds=SECONDS)
            except AssertionError:
                raise AssertionError(f"{fault}: {name} says {last[0]!r}, not {getattr(seen, name)!r}") from None

        says("readyz", lambda: self._get("/readyz")[0])
        says("statusz", self._statusz)
        says("alerts", self._alerts)
        says("doctor", self._doctor)
        self._rows.append((fault, *map(str, astuple(seen)), client))

    def print(self) -> None:
        widths = [max(map(len, column)) for column in zip(*self._rows, strict=True)]
        for row in self._rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._deployment.ports[0], timeout=SECONDS)
        try:
            connection.request("GET", path, headers=self._headers)
            response = connection.getresponse()
            return response.status, response.read()
        except OSError:
            return 0, b""
        finally:
            connection.close()

    def _statusz(self) -> str:
        body = self._get("/statusz")[1]
        checks = json.loads(body).get("checks") if body else None
        if checks is None:
            return "(no answer)"
        return _names(check["name"] for check in checks if not check["ok"])

    def _doctor(self) -> str:
        program = (sys.executable, "-P", "-m", "api.cli", "doctor")
        ended = subprocess.run(program, env=self._deployment.environ, capture_output=True, text=True, timeout=SECONDS)
        lines = ended.stdout.splitlines()
        return _names(line.split()[1].rstrip(":") for line in lines if line.startswith("failed"))

    def _alerts(self) -> str:
        pages = []
        for port in self._ports:
            try:
                pages.append(metric_pages.read(port))
            except (OSError, http.client.HTTPException):
                continue  # a process that was stopped
        return _names(name.removeprefix("Threadhouse") for name in alerts.firing(pages))


def _names(found: Iterator[str] | set[str]) -> str:
    return ", ".join(sorted(set(found) - OF_ANY_MACHINE))


def error_of(client: ProtocolClient, method: str) -> str:
    """Return what a client reads when it sends a request: "ok", or the error."""
    try:
        client.request(method, {}, SECONDS)
    except RpcError as error:
        return f"{error.code}: {error.message}"
    return "ok"


def test_each_stopped_process_and_each_outage_is_named_by_the_surfaces_of_operators(tmp_path: Path) -> None:
    first_port = metric_pages.choose_first_port()
    otel = {"environment": str(tmp_path), "metrics_port": first_port}
    settings = {"otel": otel, "limits": {"workspace_bytes": QUOTA}}
    made = Deployment(
        tmp_path, "postgres", api=2, server=PATIENT, settings=settings, queues="turns,calls", proxied=True
    )
    with made as deployment, logs_shown_on_failure(deployment):
        background = deployment.add_worker(queues="feedback,background")
        (turns, _), (_, node) = deployment.workers, deployment.api
        beat = deployment.add_beat()
        _, key = deployment.add_user("ada", "admin")
        seen = Surfaces(deployment, first_port, key)
        seen.find_pages(["api", "api", "beat", "worker", "worker"])
        client, other = deployment.connect(token=key), deployment.connect(1, token=key)
        thread_id = start_thread(client)
        seen.expect("none", HEALTHY, "ok")

        node.stop()
        other.wait_until_lost(SECONDS)
        seen.expect("API process stopped", HEALTHY, "connection closed; " + error_of(client, "thread/list"))
        node.start()

        turns.stop()
        waiting = start_turn(client, thread_id, "[[say done]]")
        no_worker = Seen(200, "workers", "workers", "NoWorkers")
        seen.expect(
            "worker stopped", no_worker, f"its turn waits: {shown_turn(deployment, waiting)['cause']}", "noWorker"
        )
        deployment.start_worker(turns)
        client.wait_for(lambda frame: frame.get("method") == "turn/completed", SECONDS)

        background.stop()
        seen.expect("background worker stopped", no_worker, error_of(client, "thread/list"))
        deployment.start_worker(background)

        beat.stop()
        no_beat = Seen(200, "scheduler", "scheduler", "NoScheduler")
        seen.expect("scheduler stopped", no_beat, error_of(client, "thread/list"))
        beat.start()

        fill = f"head -c {3 * QUOTA} /dev/zero > big; sleep 600"
        seen.expect(
            "disk quota used up",
            HEALTHY,
            run_command(deployment, client, thread_id, fill),
            "by the limit of its workspace",
        )

        break_bwrap(turns, tmp_path / "bin")
        deployment.start_worker(turns)
        broken = Seen(200, "commands", "commands", "WorkersBroken")
        seen.expect(
            "bubblewrap broken",
            broken,
            run_command(deployment, client, thread_id, "echo hello"),
            "Process exited with code 1",
        )
        turns.stop()
        turns.environ["PATH"] = os.environ["PATH"]
        deployment.start_worker(turns)

        deployment.redis_process.stop()
        refused = error_of(client, "thread/start")
        seen.expect(
            "Redis stopped",
            Seen(503, "(no answer)", "deployment, redis", "NoScheduler"),
            refused,
            "does not answer; try again",
        )
        deployment.redis_process.start()
        deployment.wait_for_redis()

        assert deployment.database_proxy is not None
        deployment.database_proxy.pause()
        refused = error_of(client, "thread/list")
        seen.expect(
            "database paused",
            Seen(503, "(no answer)", "database, deployment", "NoScheduler"),
            refused,
            "does not answer; try again",
        )
        deployment.database_proxy.heal()
        seen.expect("all healed", HEALTHY, error_of(client, "thread/list"))
    seen.print()


def shown_turn(deployment: Deployment, turn_id: str) -> dict[str, Any]:
    program = (sys.executable, "-P", "-m", "api.cli", "turn", turn_id, "--json")
    ended = subprocess.run(program, env=deployment.environ, capture_output=True, text=True, timeout=SECONDS, check=True)
    shown: dict[str, Any] = json.loads(ended.stdout)
    return shown


def run_command(deployment: Deployment, client: ProtocolClient, thread_id: str, line: str) -> str:
    """Run a turn with one command. Return how the turn ended, and what the model then read of the command."""
    turn = run_turn(client, thread_id, command(line))
    if turn["error"]:
        return f"turn {turn['status']}: {turn['error']['message']}"
    output = [item["output"] for item in deployment.model.requests[-1].body["input"] if "output" in item][-1]
    return f"turn {turn['status']}; the model reads: {' '.join(str(output).split())}"


def break_bwrap(worker: Process, folder: Path) -> None:
    """Give the worker a bubblewrap that isolates nothing."""
    folder.mkdir()
    (folder / "bwrap").write_text(BROKEN_BWRAP)
    (folder / "bwrap").chmod(0o755)
    worker.stop()
    worker.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_turn_names_the_cause_of_each_turn_that_stands_still(tmp_path: Path) -> None:
    socket = tmp_path / "runner.sock"
    one_slot = PATIENT | {"worker_concurrency": 1, "tool_runner": str(socket)}
    made = Deployment(tmp_path, "postgres", server=one_slot, settings={"limits": {"turns_at_once": 1}}, workers=0)
    with made as deployment, logs_shown_on_failure(deployment):
        runner = deployment.add_process("runner", "--socket", str(socket), "--dangerously-as-root")
        runner.wait_until(socket.exists)
        worker = deployment.add_worker()
        ada, bob = (deployment.connect(token=deployment.add_user(name)[1]) for name in ("ada", "bob"))
        threads = [start_thread(client) for client in (ada, ada, bob, bob)]
        table: list[tuple[str, ...]] = []

        def expect(fault: str, turn_id: str, cause: str, words: str) -> None:
            def is_named() -> bool:
                found = shown_turn(deployment, turn_id)
                table.append((fault, found["state"], str(found["cause"]), str(found["why"])))
                return found["cause"] == cause and words in found["why"]

            try:
                until(is_named, seconds=SECONDS)
            except AssertionError:
                raise AssertionError(f"{fault}: {table[-1]}") from None
            table[:] = [row for row in table if row[0] != fault] + table[-1:]

        first = start_turn(ada, threads[0], "[[pause model]][[say done]]")
        deployment.model.wait_reached("model", SECONDS)
        asking = start_turn(ada, threads[1], command("true"), approvalPolicy="untrusted")
        failing = start_turn(bob, threads[2], "[[status 503 retry_after=240 try later]]")
        expect("the model is slow", first, "model", "it is at a model call, or between two steps, for ")
        expect("its user's limit", asking, "limit", "runs 1 turn and may run 1 at once")
        expect("all slots are taken", failing, "queue", "1 turn in the 1 slot of 1 worker: add workers")

        worker.kill()
        expect("its worker was killed", first, "lostWorker", "no worker is there to queue it again: start one")
        expect("no worker is left", failing, "noWorker", "start one with `threadhouse worker`")

        deployment.start_worker(worker)
        deployment.model.release("model")
        expect("the model is down", failing, "model", "its last model call failed (")
        bob.request("turn/interrupt", {"threadId": threads[2], "turnId": failing})
        expect("a person must answer", asking, "approval", "item/commandExecution/requestApproval")

        hung = start_turn(bob, threads[3], f"{command('true')}[[pause between]]{command('true')}")
        deployment.model.wait_reached("between", SECONDS)
        runner.pause()
        expect("the tool runner hangs", hung, "model", "commands cannot run there: the tool runner does not answer")
        deployment.model.release("between")
        assert wait_for_end(bob, hung, SECONDS)["status"] == "failed"
        assert shown_turn(deployment, hung)["timeline"][-1]["what"] == "failed: sandboxError"
        runner.resume()
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
