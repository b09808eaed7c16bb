"""What a hostile user's connections do to another user's requests, and to the memory of the server.

    make attacks                                  # all attacks, on Postgres, two API processes and two workers
    .venv/bin/python -m tests.bench.attacks --only pings,bodies --rounds 5

Times: each attack alternates with quiet periods of the same run, while a second user lists threads and runs turns on
the API process that is attacked. The ratios compare the two kinds of periods. Memory: the growth of the attacked API
process at its peak.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import websocket

from tests.bench import proctree
from tests.support import postgres
from tests.support.deployment import Deployment
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import start_thread, start_turn, wait_for_end

Frame = websocket.ABNF
MIB = 1 << 20
GET = "GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
UPGRADE = GET + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
POST = "POST /v2/thread/list HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n{headers}\r\n\r\n"


class Attacker:
    """Opens connections of one user, or of nobody (without a key)."""

    def __init__(self, url: str, key: str) -> None:
        self.host = urlsplit(url).netloc
        self.key = key
        self._continuation = masked(Frame.OPCODE_CONT, b" " * MIB, final=False)

    def dial(self) -> socket.socket:
        host, _, port = self.host.partition(":")
        return socket.create_connection((host, int(port)))

    def upgrade(self) -> socket.socket:
        opened = self.dial()
        opened.sendall(UPGRADE.format(host=self.host, key=self.key).encode())
        while b"\r\n\r\n" not in opened.recv(4096, socket.MSG_PEEK):
            pass
        params = {"clientInfo": {"name": "hostile", "version": "1"}}
        opened.sendall(
            masked(Frame.OPCODE_TEXT, json.dumps({"id": 1, "method": "initialize", "params": params}).encode())
        )
        return opened

    def post(self, headers: str, *, key: str | None = None) -> socket.socket:
        opened = self.dial()
        opened.sendall(POST.format(host=self.host, key=self.key if key is None else key, headers=headers).encode())
        return opened

    def flood(self, first: bytes, repeated: bytes) -> None:
        """Send frames as fast as they go; dial again when the server has closed the connection."""
        while True:
            with suppress(OSError):
                opened = self.upgrade()
                opened.sendall(first)
                while True:
                    opened.sendall(repeated)

    def keep_open(self, opened: list[Callable[[], socket.socket]]) -> None:
        """Open connections and never end them; open those again that the server has closed."""

        def keep(one: Callable[[], socket.socket]) -> None:
            while True:
                with suppress(OSError):
                    connection = one()
                    while connection.recv(65536):
                        pass
                time.sleep(1)

        threads = [threading.Thread(target=keep, args=[one], daemon=True) for one in opened]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def stalled_body(self) -> socket.socket:
        opened = self.post("Content-Length: 16777216")
        opened.sendall(b" " * (15 * MIB))
        return opened

    def begun_message(self) -> socket.socket:
        opened = self.upgrade()
        opened.sendall(masked(Frame.OPCODE_TEXT, b" ", final=False))
        for _ in range(15):
            opened.sendall(self._continuation)
        return opened

    def send_bodies(self, headers: str, piece: bytes, pieces: int, *, key: str | None = None) -> None:
        """Send bodies as fast as they go."""
        while True:
            with suppress(OSError):
                opened = self.post(headers, key=key)
                for _ in range(pieces):
                    opened.sendall(piece)
                opened.recv(65536)


def masked(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    made: bytes = Frame.create_frame(payload, opcode, 1 if final else 0).format()
    return made


def request_frame(method: str, params: object) -> bytes:
    return masked(Frame.OPCODE_TEXT, json.dumps({"id": 2, "method": method, "params": params}).encode())


ATTACKS: dict[str, Callable[[Attacker], None]] = {
    "frames": lambda one: one.flood(b"", masked(Frame.OPCODE_TEXT, b"[]") * 10_000),
    "pings": lambda one: one.flood(b"", masked(Frame.OPCODE_PING, b"") * 10_000),
    "continuations": lambda one: one.flood(
        masked(Frame.OPCODE_TEXT, b"", final=False), masked(Frame.OPCODE_CONT, b"", final=False) * 10_000
    ),
    "body": lambda one: one.keep_open([one.stalled_body]),
    "bodies": lambda one: one.keep_open([one.stalled_body] * 60),
    "messages": lambda one: one.keep_open([one.begun_message] * 60),
    "chunks": lambda one: one.send_bodies("Transfer-Encoding: chunked", b"1\r\n \r\n" * 10_000, 1000),
    "unread": lambda one: one.send_bodies("Content-Length: 99999999999", b" " * MIB, 90_000, key="none"),
    "unread-chunks": lambda one: one.send_bodies(
        "Transfer-Encoding: chunked", b"1\r\n \r\n" * 10_000, 1_000_000, key="none"
    ),
    "values": lambda one: one.flood(b"", request_frame("thread/list", [[]] * (4 * MIB))),
    "elements": lambda one: one.flood(b"", request_frame("turn/start", {"threadId": "x", "input": [{}] * 100_000}) * 4),
}


class Victim:
    """The second user: lists threads and runs turns, and notes how long each takes."""

    def __init__(self, deployment: Deployment, key: str) -> None:
        self.client: ProtocolClient = deployment.connect(0, token=key)
        self.thread_id = start_thread(self.client)
        self.times: dict[str, dict[bool, list[float]]] = {
            name: {False: [], True: []} for name in ("thread/list", "first delta")
        }

    def work(self, seconds: float, *, attacked: bool) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for _ in range(10):
                begun = time.monotonic()
                self.client.request("thread/list", {})
                self.times["thread/list"][attacked].append(time.monotonic() - begun)
            seen = len(self.client.received)
            begun = time.monotonic()
            turn = start_turn(self.client, self.thread_id, "[[say one two three]]")
            self.client.wait_for_method("item/agentMessage/delta", after=seen)
            self.times["first delta"][attacked].append(time.monotonic() - begun)
            wait_for_end(self.client, turn)
            if self.client.lost:
                raise self.client.lost


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] * 1000


def measure(deployment: Deployment, name: str, keys: tuple[str, str], rounds: int, seconds: float) -> None:
    """Alternate quiet and attacked periods, and print a line."""
    victim = Victim(deployment, keys[1])
    victim.work(seconds / 2, attacked=False)
    for kind in victim.times.values():
        kind[False].clear()
    pids = proctree.tree([deployment.api[0].pid])
    before = proctree.pss(pids)
    peak = before
    for _ in range(rounds):
        victim.work(seconds, attacked=False)
        process = start(name, deployment.urls[0], keys[0])
        try:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(1)
            victim.work(seconds, attacked=True)
            peak = max(peak, proctree.pss(pids))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    cells = [f"{name:14}"]
    for kind, times in victim.times.items():
        for percent in (50, 99):
            quiet, attacked = percentile(times[False], percent), percentile(times[True], percent)
            cells.append(f"{kind} p{percent} {quiet:6.1f} → {attacked:6.1f} ms ({attacked / quiet:5.2f})")
        cells.append(f"n={len(times[False])}/{len(times[True])}")
    print(" | ".join(cells), f"| API +{(peak - before) / MIB:.0f} MiB", flush=True)
    victim.client.drop()


def start(name: str, url: str, key: str) -> subprocess.Popen[bytes]:
    """Start an attack in a process of its own, which prints a line when it begins."""
    command = [sys.executable, "-m", "tests.bench.attacks", "--attack", name, url, key]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--attack", nargs=3, metavar=("NAME", "URL", "KEY"), help="Only attack, until killed.")
    parser.add_argument("--only", default=",".join(ATTACKS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--database", default="postgres")
    options = parser.parse_args()
    if options.attack:
        name, url, key = options.attack
        print(flush=True)
        ATTACKS[name](Attacker(url, key))
        return
    run = postgres.Run()
    postgres.join_run(run.folder)
    try:
        with (
            tempfile.TemporaryDirectory() as home,
            Deployment(Path(home), options.database, api=2, workers=2) as deployment,
        ):
            keys = (deployment.add_user("eve")[1], deployment.add_user("ada")[1])
            for name in options.only.split(","):
                measure(deployment, name, keys, options.rounds, options.seconds)
    finally:
        run.end()


if __name__ == "__main__":
    main()
