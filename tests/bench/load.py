#!/usr/bin/env python3
"""Load client: runs turns on an agent server and reports latencies, throughput, CPU and memory.

One scenario:
    python load.py --url ws://127.0.0.1:9201 --server-pid PID --conns 50 --turns 2 --n 50 --delay 20

The standard suite, each scenario --repeat times, written as JSON:
    python load.py --url ws://127.0.0.1:9201 --server-pid PID --suite a,b,c10,c50,c200 --out raw.json

The server must use mock_model.py as its model. With the mock's address in --mock, the report shows how
late and how busy the mock itself was. All times are in milliseconds.

    thread_start    thread/start request to its response
    turn_accept     turn/start request to its response
    ttfd            turn/start request to the first delta, minus the mock's scripted first delay
    to_model        turn/start request to the model's first write, minus the same delay
    relay           the model's write of a delta to the client's read
    overhead        duration of the turn, minus the time that the mock's script takes
"""

import argparse
import asyncio
import datetime
import gc
import json
import os
import statistics
import sys
import time
import urllib.request
from pathlib import Path

from client import Client
from proctree import Watch
from report import median_of

SUITE = {
    # name: (options, description)
    "a": ({"conns": 1, "turns": 60, "n": 1, "delay": 0}, "one connection, trivial turns one after another"),
    "b": ({"conns": 1, "turns": 5, "n": 2000, "delay": 0}, "one connection, 2000 deltas without delays"),
    **{
        f"c{c}": (
            {"conns": c, "turns": 2 if c <= 200 else 1, "n": 50, "delay": 20},
            f"{c} turns at once, 50 deltas with 20 ms between them",
        )
        for c in (1, 10, 50, 100, 200, 500, 1000)
    },
    "t": (
        {"conns": 1, "turns": 20, "n": 1, "delay": 0, "tool": "true"},
        "one connection, each turn runs one shell command",
    ),
    "idle-threads": ({"mode": "idle-threads", "count": 1000}, "1000 idle threads on one connection"),
    "idle-conns": ({"mode": "idle-conns", "count": 1000}, "1000 idle connections, initialized"),
}


def percentiles(values, scale=1000.0):
    values = sorted(values)
    if not values:
        return None

    def pick(q):
        return round(values[min(len(values) - 1, int(len(values) * q))] * scale, 2)

    return {"p50": pick(0.50), "p95": pick(0.95), "p99": pick(0.99), "max": pick(1.0), "n": len(values)}


def mock_call(base, path, method="GET"):
    request = urllib.request.Request(base.rstrip("/") + path, method=method)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())


class Scenario:
    def __init__(
        self,
        url,
        options,
        conns=1,
        turns=1,
        n=1,
        k=16,
        delay=0,
        first=0,
        think=0,
        tool="",
        mode="turns",
        count=0,
        timeout=120.0,
        per_conn=1,
        pids=(),
        mock=None,
        tokens=(),
        beside=(),
    ):
        self.urls, self.options, self.tokens, self.connected = url.split(","), options, tokens, 0
        self.conns, self.turns, self.n, self.k = conns, turns, n, k
        self.delay, self.first, self.think, self.tool = delay, first, think, tool
        self.mode, self.count, self.timeout, self.per_conn = mode, count, timeout, per_conn
        self.pids, self.beside, self.mock = pids, beside, mock
        self.scripted = (first * (2 if tool else 1) + (n - 1) * delay) / 1000
        self.errors = {}
        self.starts, self.done, self.clients = [], [], []
        self.text = f"[[mock n={n} k={k} delay={delay} first={first}{f' tool={tool}' if tool else ''}]]"

    def failed(self, error):
        name = f"{type(error).__name__}: {error}"[:160]
        self.errors[name] = self.errors.get(name, 0) + 1

    async def connect(self):
        number = self.connected
        self.connected += 1
        options = self.options
        if self.tokens:
            options = {**options, "token": self.tokens[number % len(self.tokens)]}
        client = Client(self.urls[number % len(self.urls)], options)
        await asyncio.wait_for(client.open(), self.timeout)
        self.clients.append(client)
        return client

    async def new_thread(self, client):
        began = time.monotonic()
        thread = await asyncio.wait_for(client.start_thread(), self.timeout)
        self.starts.append(time.monotonic() - began)
        return thread

    async def player(self, client, thread, go):
        await go.wait()
        for i in range(self.turns):
            if i and self.think:
                await asyncio.sleep(self.think / 1000)
            try:
                self.done.append(await asyncio.wait_for(client.turn(thread, self.text), self.timeout + self.scripted))
            except Exception as error:
                self.failed(error)
                if getattr(client, "closed", False):
                    return

    async def open_players(self, go):
        """Connect and start the threads, a few at a time. The turns wait for the event `go`."""
        gate, players = asyncio.Semaphore(16), []

        async def open_one():
            async with gate:
                try:
                    client = await self.connect()
                    for _ in range(self.per_conn):
                        thread = await self.new_thread(client)
                        players.append(asyncio.create_task(self.player(client, thread, go)))
                except Exception as error:
                    self.failed(error)

        await asyncio.gather(*(open_one() for _ in range(self.conns)))
        return players

    async def run_turns(self):
        go = asyncio.Event()
        players = await self.open_players(go)
        if self.mock:
            mock_call(self.mock, "/stats/reset", "POST")
        gc.collect()
        gc.disable()
        own0 = time.process_time()
        with Watch(self.pids, beside=self.beside) as watch:
            began = time.monotonic()
            go.set()
            await asyncio.gather(*players)
            wall = time.monotonic() - began
        gc.enable()
        own = time.process_time() - own0
        return self.report_turns(watch, wall, own)

    def report_turns(self, watch, wall, own):
        turns = self.done
        deltas = sum(t.messages for t in turns)
        model_deltas = self.n * len(turns)
        stamped = [t for t in turns if t.first_stamp]
        span = [t.done - t.first for t in turns if t.messages > 1]
        report = {
            "turns_ok": len(turns),
            "errors": self.errors,
            "wall_s": round(wall, 3),
            "turns_per_s": round(len(turns) / wall, 2),
            "delta_messages_per_s": round(deltas / wall, 1),
            "model_deltas_per_s": round(model_deltas / wall, 1),
            "burst_deltas_per_s": round(statistics.median(self.n / s for s in span), 1)
            if span and not self.delay
            else None,
            "delta_messages_per_model_delta": round(deltas / max(1, model_deltas), 3),
            "chars_missing": sum(self.n * self.k - t.chars for t in turns),
            "thread_start": percentiles(self.starts),
            "turn_accept": percentiles([t.accepted - t.sent for t in turns]),
            "ttfd": percentiles([t.first - t.sent - self.first / 1000 for t in turns if t.first]),
            "to_model": percentiles([t.first_stamp - t.sent - self.first / 1000 for t in stamped]),
            "relay": percentiles([r for t in turns for r in t.relay]),
            "overhead": percentiles([t.done - t.sent - self.scripted for t in turns]),
            "client_cpu_s": round(own, 3),
            "machine_busy": round(watch.machine_busy, 3),
        }
        if self.pids:
            report["server"] = watch.report()
            report["cpu_ms_per_turn"] = round(watch.cpu * 1000 / max(1, len(turns)), 2)
            report["cpu_ms_per_1000_deltas"] = round(watch.cpu * 1e6 / max(1, model_deltas), 1)
        if self.mock:
            report["mock"] = mock_call(self.mock, "/stats")
            if self.pids:  # CPU that other programs used meanwhile: the noise of this run
                ours = watch.cpu + own + report["mock"]["cpu_s"]
                report["foreign_cores"] = round(max(0.0, watch.machine_busy_s - ours) / watch.wall, 2)
        return report

    async def run_idle(self):
        gate = asyncio.Semaphore(16)
        base = await self.connect()
        await self.new_thread(base)  # warm-up, because the first thread also loads code
        await asyncio.sleep(1)
        self.starts.clear()

        async def open_one():
            async with gate:
                try:
                    await (self.new_thread(base) if self.mode == "idle-threads" else self.connect())
                except Exception as error:
                    self.failed(error)

        with Watch(self.pids) as watch:
            began = time.monotonic()
            await asyncio.gather(*(open_one() for _ in range(self.count)))
            wall = time.monotonic() - began
            await asyncio.sleep(2)
        with Watch(self.pids) as rest:
            await asyncio.sleep(5)
        report = {
            "count": self.count,
            "errors": self.errors,
            "wall_s": round(wall, 3),
            "per_s": round(self.count / wall, 1),
            "thread_start": percentiles(self.starts),
            "machine_busy": round(watch.machine_busy, 3),
        }
        if self.pids:
            report["server"] = watch.report()
            report["kib_each_rss"] = round((watch.rss1 - watch.rss0) / 1024 / self.count, 1)
            report["kib_each_pss"] = round((watch.pss1 - watch.pss0) / 1024 / self.count, 1)
            report["cpu_ms_each"] = round(watch.cpu * 1000 / self.count, 2)
            report["idle_cpu_percent"] = round(rest.cpu / rest.wall * 100, 2)
        return report

    async def run(self):
        try:
            return await (self.run_turns() if self.mode == "turns" else self.run_idle())
        finally:
            await asyncio.gather(*(c.close() for c in self.clients), return_exceptions=True)


def line(name, r):
    """Return a scenario's report as one line, for the terminal."""
    if "count" in r:
        return (
            f"{name:13} each {r.get('kib_each_pss')} KiB PSS, {r.get('cpu_ms_each')} ms CPU; {r['per_s']}/s; "
            f"idle CPU {r.get('idle_cpu_percent')}%; errors {r['errors']}"
        )

    def show(key):
        v = r.get(key)
        return f"{key} {v['p50']}/{v['p95']}/{v['p99']}" if v else f"{key} -"

    return (
        f"{name:13} {show('overhead')}  {show('ttfd')}  {show('relay')}  turns/s {r['turns_per_s']}  "
        f"deltas/s {r['burst_deltas_per_s'] or r['model_deltas_per_s']}  CPU ms/turn {r.get('cpu_ms_per_turn')}  "
        f"RSS {r.get('server', {}).get('rss_peak_mib')}  busy {r['machine_busy']} "
        f"(others {r.get('foreign_cores')} cores)  ok {r['turns_ok']}  "
        f"missing {r['chars_missing']}  errors {sum(r['errors'].values())}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="Connect to this URL, or in turn to these, separated by commas.")
    parser.add_argument("--tokens", help="Connect in turn with the tokens in this file, one a line.")
    parser.add_argument(
        "--opt",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="Set an option of the client: token=, cwd=, sandbox=, jsonrpc=1, quickack=1.",
    )
    parser.add_argument(
        "--server-pid",
        type=int,
        action="append",
        default=[],
        help="Measure the process tree below this pid. Repeat it for each tree.",
    )
    parser.add_argument(
        "--beside-pid",
        type=int,
        action="append",
        default=[],
        help="Report the CPU of this tree too, such as a database.",
    )
    parser.add_argument("--mock", help="Read the statistics of mock_model.py at this URL, e.g. http://127.0.0.1:9100.")
    parser.add_argument("--suite", help=f"Run these scenarios, separated by commas: {', '.join(SUITE)}.")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--pause", type=float, default=1.0, help="Wait this many seconds between runs.")
    parser.add_argument("--warmup", type=int, default=5, help="Run this many trivial turns before the first scenario.")
    parser.add_argument("--label", default="", help="Write this name of the server into the JSON file.")
    parser.add_argument("--out", help="Write all reports to this JSON file.")
    parser.add_argument("--mode", choices=["turns", "idle-threads", "idle-conns"], default="turns")
    parser.add_argument(
        "--count", type=int, default=1000, help="Open this many threads or connections in the idle modes."
    )
    for name, default in (("conns", 1), ("per-conn", 1), ("turns", 1), ("n", 1), ("k", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in (("delay", 0.0), ("first", 0.0), ("think", 0.0), ("timeout", 120.0)):
        parser.add_argument(f"--{name}", type=float, default=default)
    parser.add_argument("--tool", default="")
    args = parser.parse_args()

    try:
        import uvloop

        uvloop.install()
    except ImportError:
        pass
    tokens = Path(args.tokens).read_text().split() if args.tokens else ()
    options = dict(item.split("=", 1) for item in args.opt)
    if args.suite:
        plan = [(name, SUITE[name][0]) for name in args.suite.split(",")]
    else:
        names = ("conns", "per_conn", "turns", "n", "k", "delay", "first", "think", "tool", "mode", "count")
        plan = [(args.mode, {name: getattr(args, name) for name in names})]

    def run(settings):
        scenario = Scenario(
            args.url,
            options,
            pids=args.server_pid,
            mock=args.mock,
            timeout=args.timeout,
            tokens=tokens,
            beside=args.beside_pid,
            **settings,
        )
        return asyncio.run(scenario.run())

    result = {
        "label": args.label or args.url,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "scenarios": {},
    }
    if args.warmup:
        run({"turns": args.warmup})
    for name, settings in plan:
        reports = []
        for i in range(args.repeat):
            time.sleep(args.pause)
            load0 = os.getloadavg()[0]
            report = run(settings)
            report["load_before"] = round(load0, 2)
            reports.append(report)
            print(line(f"{name}#{i + 1}", report), flush=True)
        result["scenarios"][name] = {"settings": settings, "median": median_of(reports), "runs": reports}
        if args.out:
            with open(args.out, "w") as f:
                json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
