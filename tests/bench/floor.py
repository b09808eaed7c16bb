#!/usr/bin/env python3
r"""The least durable work of a turn, without any code of ours: what a turn must cost on this machine.

    python floor.py --database postgresql://… | FILE --redis URL --mock http://127.0.0.1:9100 [--turns 60]

Each turn is a row that is inserted, then claimed; a model's answer that is streamed from mock_model.py; three rows and
the end of the turn; one message that is published in Redis, read by a subscriber, and written to a socket as a frame of
a WebSocket. Prints a JSON object: medians of the time of a turn without what the model takes, and the CPU of a turn,
in milliseconds.
"""

import argparse
import json
import socket
import sqlite3
import statistics
import time
import urllib.parse
from http.client import HTTPConnection

import psycopg
import redis

PROMPT = "[[mock n=1 k=16 delay=0 first=0]]"
TABLES = (
    "CREATE TABLE IF NOT EXISTS floor_turns (id text PRIMARY KEY, phase text NOT NULL, claim int NOT NULL)",
    "CREATE TABLE IF NOT EXISTS floor_items (id text PRIMARY KEY, turn text NOT NULL, item text NOT NULL)",
)


class Sqlite:
    def __init__(self, file):
        self.connection = sqlite3.connect(file, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL"):
            self.connection.execute(f"PRAGMA {pragma}")

    def commit(self, *statements):
        """Execute (statement, values) in one transaction."""
        self.connection.execute("BEGIN IMMEDIATE")
        for statement, values in statements:
            self.connection.execute(statement, values)
        self.connection.execute("COMMIT")


class Postgres:
    def __init__(self, url):
        self.connection = psycopg.connect(url, autocommit=True)

    def commit(self, *statements):
        with self.connection.pipeline(), self.connection.transaction():
            for statement, values in statements:
                self.connection.execute(statement.replace("?", "%s"), values)


def run_turn(number, database, client, subscription, model, reader, writer):
    turn = f"{time.time_ns()}-{number}"
    database.commit(("INSERT INTO floor_turns VALUES (?, 'queued', 0)", (turn,)))
    database.commit(("UPDATE floor_turns SET phase = 'running', claim = claim + 1 WHERE id = ?", (turn,)))
    body = json.dumps({"model": "mock", "stream": True, "input": PROMPT})
    model.request("POST", "/v1/responses", body, {"Content-Type": "application/json"})
    answer = model.getresponse().read().decode()
    rows = [
        ("INSERT INTO floor_items VALUES (?, ?, ?)", (f"{turn}-{kind}", turn, answer[:500]))
        for kind in ("input", "message", "end")
    ]
    database.commit(*rows, ("UPDATE floor_turns SET phase = 'done' WHERE id = ?", (turn,)))
    client.publish("floor", answer[:500])
    while (message := subscription.get_message(timeout=5)) is None or message["type"] != "message":
        pass
    writer.sendall(b"\x81\x7e" + len(message["data"]).to_bytes(2, "big") + message["data"])
    reader.recv(1 << 16)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", required=True, help="Write to this database: a file of SQLite or a URL.")
    parser.add_argument("--redis", required=True, help="Publish in this Redis.")
    parser.add_argument("--mock", required=True, help="Ask mock_model.py at this URL.")
    parser.add_argument("--turns", type=int, default=60, help="Run this many turns.")
    args = parser.parse_args()
    database = Postgres(args.database) if "://" in args.database else Sqlite(args.database)
    for table in TABLES:
        database.commit((table, ()))
    client = redis.Redis.from_url(args.redis)
    subscription = client.pubsub()
    subscription.subscribe("floor")
    model = HTTPConnection(urllib.parse.urlsplit(args.mock).netloc)
    ends = socket.socketpair()
    took, cpu = [], []
    for number in range(args.turns + 10):  # the first are warm-up
        began, began_cpu = time.monotonic(), time.process_time()
        run_turn(number, database, client, subscription, model, *ends)
        took.append((time.monotonic() - began) * 1000)
        cpu.append((time.process_time() - began_cpu) * 1000)
    print(json.dumps({"turn_ms": statistics.median(took[10:]), "cpu_ms": statistics.mean(cpu[10:])}))


if __name__ == "__main__":
    main()
