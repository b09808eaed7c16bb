#!/usr/bin/env python3
r"""Runs our server and the original on the same scripted model, interleaved, and prints the ratios of their figures.

    TH_BIN=.venv/bin/threadhouse CODEX_BIN=node_modules/.bin/codex \
        python side_by_side.py a,c50 [--repeat 2] [--limits overhead=0.5,turns_per_s=1.5] [--out FOLDER]

The exit status is 0 when every given limit holds: a minimum for turns_per_s and deltas_per_s, a maximum for others.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
PORTS = range(20_000, 32_000)
MORE_IS_BETTER = ("turns_per_s", "deltas_per_s")
CONFIG = """model = "mock"
model_provider = "mock"
approval_policy = "never"
sandbox_mode = "danger-full-access"
[model_providers.mock]
name = "mock"
base_url = "{mock}/v1"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""


def free_port():
    """Return a port that is not in use, below those that the kernel gives to outgoing connections."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)):
                return port


def wait(url, patience=90):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"no answer from {url}")


def start(command, log, **options):
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=open(log, "ab"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **options,
    )


def figures(path):
    """Return the compared figures of each scenario in a JSON file of load.py."""
    raw = json.loads(path.read_text())
    found = {}
    for name, scenario in raw["scenarios"].items():
        m = scenario["median"]
        found[name] = {
            "overhead": m["overhead"]["p50"],
            "ttfd": m["ttfd"]["p50"],
            "accept": m["turn_accept"]["p50"],
            "cpu_per_turn": m.get("cpu_ms_per_turn"),
            "turns_per_s": m["turns_per_s"],
            "deltas_per_s": m.get("burst_deltas_per_s") or m.get("model_deltas_per_s"),
            "relay": (m.get("relay") or {}).get("p50"),
            "pss_mib": (m.get("server") or {}).get("pss_after_mib"),
            "errors": sum(sum(r["errors"].values()) for r in scenario["runs"]),
            "foreign_cores": m.get("foreign_cores"),
        }
    return found


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("suite", help="Run these scenarios of load.py, separated by commas.")
    p.add_argument("--repeat", type=int, default=2, help="Run each scenario this many times.")
    p.add_argument("--limits", default="", help="Require these ratios: NAME=RATIO or SCENARIO.NAME=RATIO.")
    p.add_argument("--out", help="Write the JSON files to this folder.")
    args = p.parse_args()
    root = Path(tempfile.mkdtemp(prefix="side-"))
    out = Path(args.out or root)
    out.mkdir(parents=True, exist_ok=True)
    ports = {name: free_port() for name in ("mock", "ours", "codex")}
    mock = f"http://127.0.0.1:{ports['mock']}"
    running = []
    try:
        running.append(start([sys.executable, HERE / "mock_model.py", "--port", str(ports["mock"])], root / "mock.log"))
        (root / "ours").mkdir()
        (root / "work").mkdir()
        (root / "user").mkdir()
        (root / "ours" / "config.toml").write_text(CONFIG.format(mock=mock))
        env = {**os.environ, "HOME": str(root / "user")}
        servers = {
            "ours": start(
                [
                    os.environ["TH_BIN"],
                    "up",
                    "--home",
                    root / "ours",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(ports["ours"]),
                ],
                root / "ours.log",
                env=env,
                cwd=root / "work",
            ),
            "codex": start(
                [HERE / "peers" / "codex.sh"],
                root / "codex.log",
                env={
                    **env,
                    "CODEX": os.environ["CODEX_BIN"],
                    "MOCK": mock,
                    "PORT": str(ports["codex"]),
                    "STATE": str(root / "codex"),
                },
            ),
        }
        running += servers.values()
        for name in servers:
            wait(f"http://127.0.0.1:{ports[name]}/readyz")
        measured = {name: {} for name in servers}
        for scenario in args.suite.split(","):
            for name, server in servers.items():
                file = out / f"{name}-{scenario}.json"
                subprocess.run(
                    [
                        sys.executable,
                        HERE / "load.py",
                        "--url",
                        f"ws://127.0.0.1:{ports[name]}",
                        "--server-pid",
                        str(server.pid),
                        "--mock",
                        mock,
                        "--opt",
                        f"cwd={root / 'work'}",
                        "--suite",
                        scenario,
                        "--repeat",
                        str(args.repeat),
                        "--label",
                        name,
                        "--out",
                        file,
                    ],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                measured[name].update(figures(file))
    finally:
        for process in reversed(running):
            try:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(root, ignore_errors=True)
    limits = {k: float(v) for k, v in (x.split("=") for x in args.limits.split(",") if x)}
    failed = []
    for scenario in measured["ours"]:
        ours, codex = measured["ours"][scenario], measured["codex"][scenario]
        texts = [f"errors {ours['errors']}/{codex['errors']}"]
        failed += [f"{scenario} errors"] if ours["errors"] else []
        for key in ("overhead", "ttfd", "accept", "cpu_per_turn", "turns_per_s", "deltas_per_s", "relay", "pss_mib"):
            if not ours[key] or not codex[key]:
                continue
            ratio = ours[key] / codex[key]
            texts.append(f"{key} {ours[key]:.1f}/{codex[key]:.1f}={ratio:.2f}x")
            limit = limits.get(f"{scenario}.{key}", limits.get(key))
            if limit and (ratio < limit if key in MORE_IS_BETTER else ratio > limit):
                failed.append(f"{scenario} {key} {ratio:.2f}x")
        print(f"{scenario}: " + ", ".join(texts))
    print("limits not met: " + ", ".join(failed) if failed else "all limits hold")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
