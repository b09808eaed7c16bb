"""Measures what a turn costs with more API processes and workers, each of them on a machine of its own, so to say.

    sudo python -m tests.bench.machines [--shapes 1x1,1x2,1x4,1x8,2x2,4x4] [--suite c200] [--repeat 2]

Every process has a network namespace with an address of its own, and reaches Redis and Postgres over TCP, as processes
on several machines do; they share only the cores of this one. Postgres commits to the disk. For each shape it prints
the CPU of a turn by part, how busy the busiest process of each part was (1.0: a core, which is all that Redis, and
about all that a process of Python can use), and what Redis and Postgres counted. Linux only; root makes the namespaces.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import redis

from api.cli import embedded_redis
from shared.store import Store
from shared.store.migrations import migrate
from tests.bench.hosted import HERE, SERVER, USERS
from tests.support import postgres, postgres_cluster
from tests.support.deployment import Process, clean_environ

BRIDGE, SUBNET = "th-bench", "10.214.0"
MODEL = f"{SUBNET}.1"  # the address of this side of the bridge: of the model and the clients
SECONDS = 60.0  # for the start of one process
CONFIG = """model = "mock"
model_provider = "mock"
approval_policy = "never"
[model_providers.mock]
name = "mock"
base_url = "http://{model}:9100/v1"
wire_api = "responses"
[server]
dangerously_run_as_root = true
"""


class Network:
    """A bridge, and the namespaces behind it; a context manager."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def __enter__(self) -> Network:
        self._remove()  # of a run that was killed
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("address", "add", f"{MODEL}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        for network in Path("/sys/class/net").glob(f"{BRIDGE}/brif/*"):
            ip("link", "delete", network.name)
        for folder in Path("/run/netns").glob(f"{BRIDGE}-*"):
            ip("netns", "delete", folder.name)
        if Path(f"/sys/class/net/{BRIDGE}").exists():
            ip("link", "delete", BRIDGE)

    def add(self) -> tuple[str, list[str]]:
        """Add a machine. Return its address, and the words before a command that is to run there."""
        number = len(self._names) + 10
        name, link = f"{BRIDGE}-{number}", f"thb{number}"
        self._names.append(name)
        ip("netns", "add", name)
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", link, "master", BRIDGE, "up")
        inside = [str(shutil.which("ip")), "netns", "exec", name]
        for words in (("link", "set", "lo", "up"), ("link", "set", "eth0", "up")):
            subprocess.run([*inside, "ip", *words], check=True)
        subprocess.run([*inside, "ip", "address", "add", f"{SUBNET}.{number}/24", "dev", "eth0"], check=True)
        return f"{SUBNET}.{number}", inside


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, stderr=subprocess.DEVNULL)


class Machines:
    """Redis, Postgres, a model, and API processes and workers that are started for a shape."""

    def __init__(self, folder: Path, network: Network, stack: ExitStack) -> None:
        self.folder, self.network, self.stack = folder, network, stack
        folder.chmod(0o755)
        self.environ = clean_environ()
        self._start("mock", [sys.executable, str(HERE / "mock_model.py"), "--host", MODEL, "--port", "9100"])
        self.redis_address, self.redis = self._start_redis()
        self.postgres_url, self.postgres = self._start_postgres()

    def _start(self, name: str, command: list[str], inside: list[str] | None = None) -> Process:
        process = Process(name, self.folder / f"{name}.log", self.environ, *(inside or []), *command)
        self.stack.callback(process.kill)
        process.start()
        return process

    def _start_redis(self) -> tuple[str, Process]:
        address, inside = self.network.add()
        data = self.folder / "redis"
        data.mkdir()
        command = [embedded_redis.binary(), "--bind", address, "--protected-mode", "no", "--port", "6379"]
        command += ["--dir", str(data), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        process = self._start("redis", command, inside)

        def answers() -> bool:
            with suppress(redis.ConnectionError):
                return bool(redis.Redis(address).ping())
            return False

        process.wait_until(answers, SECONDS)
        return address, process

    def _start_postgres(self) -> tuple[str, Process]:
        address, inside = self.network.add()
        folder = self.folder / "postgres"
        folder.mkdir()
        account = pwd.getpwnam(postgres_cluster.ACCOUNT)
        os.chown(folder, account.pw_uid, account.pw_gid)
        binaries = postgres_cluster.reachable(postgres.binaries(), folder, account)
        data = folder / "data"
        made = [str(binaries / "initdb"), "--pgdata", str(data), "--username", "postgres", "--auth", "trust"]
        made += ["--encoding", "UTF8", "--locale", "C.UTF-8"]
        assert postgres_cluster.start(made, folder, account).wait() == 0
        with (data / "pg_hba.conf").open("a") as access:
            access.write(f"host all all {SUBNET}.0/24 trust\n")
        server = [str(binaries / "postgres"), "-D", str(data), "-k", str(folder), "-c", f"listen_addresses={address}"]
        server += ["-c", "max_connections=600", "-c", "shared_buffers=256MB"]
        as_account = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        as_account += ["--pdeathsig", "KILL"]  # the kernel forgets that of our own child with its user
        process = self._start("postgres", server, [*inside, *as_account])

        def answers() -> bool:
            with suppress(psycopg.OperationalError):
                psycopg.connect(f"postgresql://postgres@{address}/postgres", connect_timeout=2).close()
                return True
            return False

        process.wait_until(answers, SECONDS)
        return f"postgresql://postgres@{address}/postgres", process

    def start(self, shape: str) -> Shape:
        """Start the processes of a shape, API x WORKERS, with a database and a Redis that are empty."""
        redis.Redis(self.redis_address).flushall()
        database = f"bench_{shape}"
        with psycopg.connect(self.postgres_url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"')
        url = self.postgres_url.rpartition("/")[0].replace("postgresql", "postgresql+psycopg") + f"/{database}"
        migrate(url)
        home = self.folder / shape
        home.mkdir()
        settings = "\n".join(f"{key} = {json.dumps(value)}" for key, value in SERVER.items())
        (home / "config.toml").write_text(CONFIG.format(model=MODEL) + settings + "\n")
        self.environ = clean_environ() | {
            "THREADHOUSE_HOME": str(home),
            "THREADHOUSE_DATABASE_URL": url,
            "THREADHOUSE_REDIS_URL": f"redis://{self.redis_address}:6379/0",
        }
        store = Store(url)
        tokens = home / "tokens"
        names = [f"user{number}" for number in range(USERS)]
        for name in names:
            store.users.add(name, "member")
        keys = [store.users.create_key(name, "bench") for name in names]
        tokens.write_text("\n".join(keys))
        store.close()
        api_count, worker_count = map(int, shape.split("x"))
        threadhouse = [sys.executable, "-P", "-m", "api.cli"]
        api, addresses, workers = [], [], []
        for number in range(api_count):
            address, inside = self.network.add()
            addresses.append(address)
            command = [*threadhouse, "web", "--host", address, "--port", "8080"]
            api.append(self._start(f"{shape}-api-{number}", command, inside))
        for number in range(worker_count):
            ready = home / f"worker-{number}.ready"
            command = [*threadhouse, "worker", "--ready-file", str(ready)]
            workers.append(self._start(f"{shape}-worker-{number}", command, self.network.add()[1]))
            workers[-1].wait_until(ready.exists, SECONDS)
        for process in api:
            process.wait_until(lambda process=process: process.has_logged("Listening at"), SECONDS)
        return Shape(shape, [f"ws://{address}:8080" for address in addresses], api, workers, tokens)


@dataclass
class Shape:
    """The processes of a shape that run."""

    name: str
    urls: list[str]
    api: list[Process]
    workers: list[Process]
    tokens: Path

    def stop(self) -> None:
        for process in (*self.api, *self.workers):
            process.stop()


def measure(machines: Machines, shape: Shape, scenario: str, repeat: int) -> str:
    """Run a scenario of load.py. Return a line with the medians."""
    parts = {
        "API": shape.api,
        "worker": shape.workers,
        "Redis": [machines.redis],
        "Postgres": [machines.postgres],
    }
    out = machines.folder / f"{shape.name}-{scenario}.json"
    command = [sys.executable, str(HERE / "load.py"), "--url", ",".join(shape.urls), "--mock", f"http://{MODEL}:9100"]
    command += ["--suite", scenario, "--repeat", str(repeat), "--tokens", str(shape.tokens), "--out", str(out)]
    command += ["--opt", "sandbox=workspace-write"]
    command += [word for part in parts.values() for one in part for word in ("--server-pid", str(one.pid))]
    before = count(machines)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = count(machines)
    [found] = json.loads(out.read_text())["scenarios"].values()
    median: dict[str, Any] = found["median"]
    turns = sum(run["turns_ok"] for run in found["runs"])
    errors = sum(sum(run["errors"].values()) for run in found["runs"])
    by_root, wall = median["server"]["cpu_s_by_root"], median["wall_s"]
    texts = [f"{median['turns_per_s']:.1f} turns/s", f"machine {median['machine_busy']:.0%} busy"]
    for name, processes in parts.items():
        seconds = [by_root[str(one.pid)] for one in processes]
        texts.append(
            f"{name} {1000 * sum(seconds) / median['turns_ok']:.1f} ms a turn (busiest {max(seconds) / wall:.2f})"
        )
    texts += [f"{name} {(after[name] - before[name]) / turns:.0f} a turn" for name in before]
    texts.append(f"errors {errors}")
    return f"{scenario} {shape.name}: " + ", ".join(texts)


def count(machines: Machines) -> dict[str, float]:
    """Return what Redis and Postgres have counted so far."""
    stats: Any = redis.Redis(machines.redis_address).info("commandstats")
    with psycopg.connect(machines.postgres_url) as connection:
        row = connection.execute("SELECT sum(xact_commit) FROM pg_stat_database").fetchone()
    assert row is not None
    return {
        "Redis commands": float(sum(one["calls"] for one in stats.values())),
        "transactions": float(row[0]),
    }


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shapes", default="1x1,1x2,1x4,1x8,2x2,4x4", help="Measure these: API x WORKERS.")
    options.add_argument("--suite", default="c200", help="Run these scenarios of load.py, separated by commas.")
    options.add_argument("--repeat", type=int, default=2, help="Run each scenario this many times.")
    given = options.parse_args()
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("setpriv"):
        sys.exit("needs Linux with ip (iproute2) and setpriv (util-linux), and root: it makes network namespaces")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the networks are removed
    failed = False
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="th-", dir="/tmp")))
        network = stack.enter_context(Network())
        machines = Machines(folder, network, stack)
        for name in given.shapes.split(","):
            shape = machines.start(name)
            for scenario in given.suite.split(","):
                line = measure(machines, shape, scenario, given.repeat)
                failed = failed or not line.endswith("errors 0")
                print(line, flush=True)
            shape.stop()
    return failed


if __name__ == "__main__":
    sys.exit(main())
