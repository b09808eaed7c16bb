"""Measures the hosted shape: Postgres, API processes, workers, users with keys; beside the embedded one and the floor.

    python -m tests.bench.hosted [--suite a,c50,c200] [--repeat 3] [--shapes 2x2,2x2+otel,1x2] [--limits a.overhead=1.2]

The embedded server (threadhouse up) and the hosted shapes run the same scenarios of load.py alternately; 2x2 is two API
processes and two workers, and 2x2+otel the same with logs, traces and metrics exported to a collector that answers. CPU
is that of the server's processes and its Redis; that of each part, and of Postgres, comes first. The floor (floor.py)
is the least durable work of a turn on the same Redis and on either database. The exit status is 0 when no turn failed
and every given limit holds: the first shape as a ratio to the embedded server.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.config import embedded_redis_url
from tests.bench.telemetry import exporters
from tests.support import postgres
from tests.support.deployment import Deployment, Process, clean_environ, free_port
from tests.support.otlp_sink import OtlpSink

HERE = Path(__file__).resolve().parent
USERS = 50
SERVER: dict[str, object] = {  # as without a config
    "lease_seconds": 30,
    "renewal_seconds": 10,
    "sweep_seconds": 5,
    "worker_niceness": 7,
}
SHOWN = ("overhead", "turn_accept", "accept_p95", "cpu_ms_per_turn", "turns_per_s", "pss_mib")
MORE_IS_BETTER = ("turns_per_s",)
CONFIG = """model = "mock"
model_provider = "mock"
approval_policy = "never"
[model_providers.mock]
name = "mock"
base_url = "{mock}/v1"
wire_api = "responses"
[server]
dangerously_run_as_root = true
"""

Figures = dict[str, float]


@dataclass
class Server:
    """A server under load.

    parts:  name → roots of its process trees
    tokens: file of its users' keys
    beside: root of the process tree of its database
    """

    name: str
    urls: Sequence[str]
    parts: Mapping[str, Sequence[int]]
    tokens: Path | None = None
    beside: Sequence[int] = ()

    def measure(self, scenario: str, repeat: int, mock: str, out: Path) -> Figures:
        """Run a scenario of load.py; return its medians, times in milliseconds."""
        command = [sys.executable, HERE / "load.py", "--url", ",".join(self.urls), "--mock", mock, "--suite", scenario]
        command += ["--repeat", str(repeat), "--label", self.name, "--out", out, "--opt", "sandbox=workspace-write"]
        command += [word for pids in self.parts.values() for pid in pids for word in ("--server-pid", str(pid))]
        command += [word for pid in self.beside for word in ("--beside-pid", str(pid))]
        command += ["--tokens", self.tokens] if self.tokens else []
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        [found] = json.loads(out.read_text())["scenarios"].values()
        median: dict[str, Any] = found["median"]
        by_root = median["server"]["cpu_s_by_root"]
        parts = {
            name: 1000 * sum(by_root[str(pid)] for pid in pids) / median["turns_ok"]
            for name, pids in {**self.parts, "Postgres": self.beside}.items()
            if pids
        }
        print(f"{scenario} {self.name}: CPU a turn: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in parts.items()))
        errors = Counter[str]()
        for run in found["runs"]:
            errors.update(run["errors"])
        for text, count in errors.items():
            print(f"{scenario} {self.name}: {count} turns failed: {text}")
        return {
            "overhead": median["overhead"]["p50"],
            "turn_accept": median["turn_accept"]["p50"],
            "accept_p95": median["turn_accept"]["p95"],
            "cpu_ms_per_turn": median["cpu_ms_per_turn"],
            "turns_per_s": median["turns_per_s"],
            "pss_mib": median["server"]["pss_after_mib"],
            "errors": errors.total(),
        }


def start_mock(stack: ExitStack, folder: Path) -> str:
    """Start mock_model.py; return its URL."""
    port = free_port()
    process = Process(
        "mock", folder / "mock.log", clean_environ(), sys.executable, str(HERE / "mock_model.py"), "--port", str(port)
    )
    stack.callback(process.kill)
    process.start()
    process.wait_until(lambda: accepts(port))
    return f"http://127.0.0.1:{port}"


def accepts(port: int) -> bool:
    """Return whether a server accepts connections at this port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def start_embedded(stack: ExitStack, home: Path, mock: str) -> Server:
    home.mkdir()
    (home / "config.toml").write_text(CONFIG.format(mock=mock))
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-P", "-m", "api.cli", "up", "--home", str(home), "--port", url.rpartition(":")[2]]
    process = Process("up", home / "up.log", clean_environ(), *command)
    stack.callback(process.stop)
    process.start()
    process.wait_until(lambda: f"serving {url}" in process.log_tail())
    return Server("embedded", [url.replace("http", "ws", 1)], {"server": [process.pid]})


def start_hosted(stack: ExitStack, home: Path, mock: str, shape: str) -> tuple[Server, Deployment]:
    """shape: API processes x workers, such as 2x2; +otel: which export telemetry."""
    home.mkdir()
    counts, _, extra = shape.partition("+")
    api, workers = map(int, counts.split("x"))
    settings = {"otel": exporters(stack.enter_context(OtlpSink(keeps=False)))} if extra == "otel" else None
    deployment = Deployment(
        home, "postgres", api=api, workers=workers, server=SERVER, settings=settings, model_url=f"{mock}/v1"
    )
    stack.enter_context(deployment)
    tokens = home / "tokens"
    tokens.write_text("\n".join(deployment.add_user(f"user{number}")[1] for number in range(USERS)))
    urls = [url.replace("http", "ws", 1) for url in deployment.urls]
    parts = {
        "API": [process.pid for process in deployment.api],
        "workers": [process.pid for process in deployment.workers],
        "Redis": [deployment.redis_process.pid],
    }
    return Server(shape, urls, parts, tokens, [postgres.server_pid()]), deployment


def measure_floor(database: str, redis: str, mock: str) -> Figures:
    command = [sys.executable, HERE / "floor.py", "--database", database, "--redis", redis, "--mock", mock]
    found: Figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--suite", default="a,c50,c200", help="Run these scenarios of load.py, separated by commas.")
    options.add_argument("--repeat", type=int, default=3, help="Run each scenario this many times.")
    options.add_argument("--shapes", default="2x2,1x2", help="Measure these, separated by commas: APIxWORKERS[+otel].")
    options.add_argument("--limits", default="", help="Require these ratios to embedded: SCENARIO.NAME=RATIO.")
    given = options.parse_args()
    limits = {name: float(ratio) for name, ratio in (one.split("=") for one in given.limits.split(",") if one)}
    failed = []
    with ExitStack() as stack:
        run = postgres.Run()
        stack.callback(run.end)
        postgres.join_run(run.folder)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="th-", dir="/tmp")))
        mock = start_mock(stack, folder)
        embedded = start_embedded(stack, folder / "embedded", mock)
        shapes = given.shapes.split(",")
        hosted = {shape: start_hosted(stack, folder / shape, mock, shape) for shape in shapes}
        first, deployment = hosted[shapes[0]]
        redis_url = embedded_redis_url(deployment.home)
        floors = {
            "SQLite": measure_floor(str(folder / "floor.sqlite3"), redis_url, mock),
            "Postgres": measure_floor(deployment.database_url.replace("+psycopg", ""), redis_url, mock),
        }
        for name, floor in floors.items():
            print(f"floor on {name}: {floor['turn_ms']:.2f} ms a turn, {floor['cpu_ms']:.2f} ms of CPU")
        for scenario in given.suite.split(","):
            found = {
                server.name: server.measure(scenario, given.repeat, mock, folder / f"{server.name}-{scenario}.json")
                for server in (embedded, *(server for server, _ in hosted.values()))
            }
            for name, figures in found.items():
                print(f"{scenario} {name}: " + ", ".join(f"{key} {figures[key]:.1f}" for key in SHOWN), end="")
                print(f", errors {figures['errors']:g}", flush=True)
                failed += [f"{scenario} {name}: errors"] if figures["errors"] else []
            if scenario == "a":
                for name, server in (("SQLite", "embedded"), ("Postgres", first.name)):
                    overhead = found[server]["overhead"] / floors[name]["turn_ms"]
                    cpu = found[server]["cpu_ms_per_turn"] / floors[name]["cpu_ms"]
                    print(f"a {server}: {overhead:.1f} times the floor in time, {cpu:.1f} in CPU")
            for key in SHOWN:
                ratio = found[first.name][key] / found["embedded"][key]
                limit = limits.get(f"{scenario}.{key}")
                if limit and (ratio < limit if key in MORE_IS_BETTER else ratio > limit):
                    failed.append(f"{scenario} {key} {ratio:.2f}x")
                print(f"{key} {ratio:.2f}x", end=" ")
            print(f"({first.name} / embedded)", flush=True)
            for name, figures in found.items():
                shape, _, extra = name.partition("+")
                if extra and shape in found:
                    ratios = (f"{key} {figures[key] / found[shape][key]:.2f}x" for key in SHOWN)
                    print(*ratios, f"({name} / {shape})", flush=True)
    print("limits not met: " + ", ".join(failed) if failed else "all limits hold")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
