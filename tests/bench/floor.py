#!/usr/bin/env python3
r"""The least durable work of a turn, without any code of ours: what a turn must cost on this machine.

    python floor.py --database postgresql://… | FILE --redis URL --mock http://127.0.0.1:9100 [--turns 60]

Two processes share the work through Redis, because a turn must outlive each of them. The first inserts a row for a
turn and puts its id into a list. The second takes it from there, claims the row, reads a model's answer, streamed from
mock_model.py, stores three rows and the end of the turn, and publishes one message, which the first writes to a socket
as a frame of a WebSocket. Prints a JSON object: the median of the time of a turn without what the model takes, and the
CPU that both processes need for a turn, in milliseconds.
"""

import argparse
import json
import os
import socket
import sqlite3
import statistics
import time
import urllib.parse
from http.client import HTTPConnection

import psycopg
import redis

WARM_UP = 10  # turns
ANSWER_SECONDS = 5
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


def open_database(name):
    return Postgres(name) if "://" in name else Sqlite(name)


def begin_turns(turns, database, client, reader, writer):
    """Begin one turn after another, and pass on what is published of it; return the milliseconds of each."""
    subscription = client.pubsub()
    subscription.subscribe("floor")
    took = []
    for _ in range(turns):
        began = time.monotonic()
        turn = str(time.time_ns())
        database.commit(("INSERT INTO floor_turns VALUES (?, 'queued', 0)", (turn,)))
        client.lpush("floor", turn)
        while (message := subscription.get_message(timeout=ANSWER_SECONDS)) and message["type"] != "message":
            pass
        if message is None:
            raise SystemExit("the second process has not published anything")
        writer.sendall(b"\x81\x7e" + len(message["data"]).to_bytes(2, "big") + message["data"])
        reader.recv(1 << 16)
        took.append((time.monotonic() - began) * 1000)
    return took


def run_turns(turns, database, client, model):
    """Run the turns that come through the list."""
    for _ in range(turns):
        turn = client.brpop(["floor"])[1].decode()
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", required=True, help="Write to this database: a file of SQLite or a URL.")
    parser.add_argument("--redis", required=True, help="Publish in this Redis.")
    parser.add_argument("--mock", required=True, help="Ask mock_model.py at this URL.")
    parser.add_argument("--turns", type=int, default=60, help="Run this many turns.")
    args = parser.parse_args()
    turns = args.turns + WARM_UP
    database = open_database(args.database)
    for table in TABLES:
        database.commit((table, ()))
    runner = os.fork()
    client = redis.Redis.from_url(args.redis)
    if not runner:
        try:
            run_turns(
                turns, open_database(args.database), client, HTTPConnection(urllib.parse.urlsplit(args.mock).netloc)
            )
        finally:
            os._exit(0)
    began_cpu = time.process_time()
    took = begin_turns(turns, database, client, *socket.socketpair())
    cpu_s = time.process_time() - began_cpu
    usage = os.wait4(runner, 0)[2]
    cpu_s += usage.ru_utime + usage.ru_stime
    print(json.dumps({"turn_ms": statistics.median(took[WARM_UP:]), "cpu_ms": cpu_s * 1000 / turns}))


if __name__ == "__main__":
    main()
