#!/usr/bin/env python3
"""Lists and resumes at scale: a user of 10^6 threads in Postgres and 10^5 in SQLite, a thread of 10^5 items.

    python -m tests.bench.scale --postgres postgresql://postgres@127.0.0.1:5432/postgres

Creates its own database on the server of --postgres and drops it at the end. Prints a table; the exit status is 1 when
a limit is exceeded: 50 ms at the 95th percentile for a page of the list, 200 ms for a resume, and for a resume of the
long thread twice the memory of a resume of a short one.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import insert, select, text
from sqlalchemy.engine import make_url

from api.requests.settings import defaults
from shared.ids import new_id
from shared.store import Store
from shared.store.column_types import Json
from shared.store.items import Item
from shared.store.items import append as append_items
from shared.store.migrations import migrate
from shared.store.tables import threads, turns
from shared.store.threads import SORT_COLUMNS, Filter, Thread, columns
from shared.store.users import LOCAL_USER
from tests.builders import Backend, make_backend, make_config, make_thread

POSTGRES_THREADS = 1_000_000
SQLITE_THREADS = 100_000
CALLS = 200
PAGE = 26  # thread/list reads one more than it shows
LIST_LIMIT_MS = 50
RESUME_LIMIT_MS = 200
MEMORY_RATIO = 2.0
ITEMS_OF_TURN = 100
FIRST_MS = 1_700_000_000_000
STEP_MS = 700
SYLLABLES = ("ba", "co", "di", "fu", "ge", "ha", "jo", "ki", "lu", "me", "no", "pa", "ri", "su", "te", "vo")
VOCABULARY = ["".join(parts) for parts in itertools.product(SYLLABLES, repeat=3)]
INTERACTIVE = ("cli", "vscode")


class Rows:
    """Generated threads of one user with texts to search for; the same in every run."""

    def __init__(self, count: int, settings: dict[str, Any]) -> None:
        self.count = count
        self._settings = settings
        self._random = random.Random(count)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        draw = self._random
        model = Thread(
            id="", owner=LOCAL_USER, session_id="", settings={}, source="", materialized=True,
            created_at_ms=0, updated_at_ms=0, recency_at_ms=0, used_at_ms=0,
        )  # fmt: skip
        for number in range(self.count):
            created = FIRST_MS + number * STEP_MS
            used = created + draw.randrange(STEP_MS * self.count // 10)
            words = draw.choices(VOCABULARY, k=12)
            words += ["please"] * (number % 2) + ["refactor"] * (number % 100 == 0) + ["Xylem"] * (number % 20_000 == 7)
            thread_id = f"{created >> 16:08x}-{created & 0xFFFF:04x}-7{draw.randrange(4096):03x}-8000-{number:012x}"
            yield columns(
                replace(
                    model,
                    id=thread_id,
                    session_id=thread_id,
                    settings={
                        **self._settings,
                        "cwd": f"/srv/project{min(999, int(draw.paretovariate(0.5)))}",
                        "modelProvider": draw.choices(("openai", "local", "azure"), (90, 9, 1))[0],
                    },
                    source=draw.choices(("vscode", "cli", "exec", "appServer"), (80, 15, 4.5, 0.5))[0],
                    name=" ".join(draw.choices(VOCABULARY, k=4)) if number % 3 == 0 else None,
                    preview=" ".join(words),
                    archived_at_ms=used if draw.random() < 0.05 else None,
                    created_at_ms=created,
                    updated_at_ms=used,
                    recency_at_ms=used,
                    used_at_ms=used,
                )
            )


def fill(store: Store, rows: Rows) -> None:
    """Store the threads."""
    if store.database.is_sqlite:
        with store.database.write() as connection:
            for _, group in itertools.groupby(enumerate(rows), lambda numbered: numbered[0] // 5000):
                connection.execute(insert(threads), [row for _, row in group])
            connection.execute(text("ANALYZE"))
        return
    url = store.database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    names = list(next(iter(Rows(1, {"cwd": "", "modelProvider": ""}))))
    as_json = [isinstance(threads.c[name].type, Json) for name in names]
    to_text = Json().process_bind_param
    with psycopg.connect(url, autocommit=True) as connection:
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'threads' AND indexname <> 'threads_pkey'"
        ).fetchall()  # created again after the rows, which is faster
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}".encode())
        with connection.cursor().copy(f"COPY threads ({', '.join(names)}) FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(
                    [
                        to_text(row[name], store.database.engine.dialect) if json else row[name]
                        for name, json in zip(names, as_json, strict=True)
                    ]
                )
        connection.execute("SET maintenance_work_mem = '256MB'")
        for _, definition in indexes:
            connection.execute(definition.encode())
        connection.execute("VACUUM ANALYZE threads")


def cases(count: int, draw: random.Random) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return, by name of the case, a function that returns the arguments of Threads.page that differ between cases."""

    def deep() -> tuple[int, str]:
        return FIRST_MS + draw.randrange(count // 4, count * 3 // 4) * STEP_MS, "8"

    def listing(wanted: Callable[[], dict[str, Any]], *, after: bool = False) -> Callable[[], dict[str, Any]]:
        def arguments() -> dict[str, Any]:
            filters = Filter(**{"sources": INTERACTIVE, **wanted()})
            return {"wanted": filters, "after": deep() if after else None}

        return arguments

    def cwd() -> str:
        return f"/srv/project{draw.choice((1, 2, 10, 100, 400, 998))}"

    filters: dict[str, Callable[[], dict[str, Any]]] = {
        "": dict,
        "cwd": lambda: {"cwds": [cwd()]},
        "two cwds": lambda: {"cwds": ["/srv/project500", cwd()]},
        "unknown cwd": lambda: {"cwds": ["/srv/nowhere"]},
        "a rare source": lambda: {"sources": ["appServer"]},
        "an absent source": lambda: {"sources": ["subAgent"]},
        "a rare provider": lambda: {"model_providers": ["azure"]},
        "an absent provider": lambda: {"model_providers": ["elsewhere"]},
        "archived": lambda: {"archived": True},
        "search, half of all": lambda: {"search_term": "please"},
        "search, 1 in 100": lambda: {"search_term": "refactor"},
        "search, 1 in 300": lambda: {"search_term": draw.choice(VOCABULARY)},
        "search, 1 in 20000": lambda: {"search_term": "Xylem"},
        "search, 3 characters": lambda: {"search_term": draw.choice(("Xyl", "bac", "bab", "fac"))},
        "search, absent": lambda: {"search_term": "quetzal"},
        "search, cwd": lambda: {"search_term": draw.choice(("please", "Xylem")), "cwds": [cwd()]},
        "search, archived": lambda: {"search_term": draw.choice(("please", "Xylem")), "archived": True},
    }
    found = {}
    for name, wanted in filters.items():
        found[f"list: {name or 'first page'}"] = listing(wanted)
        found[f"list: {name + ', ' if name else ''}deep page"] = listing(wanted, after=True)
    return found


class Table:
    """A printed table of measurements and their limits. holds: whether no limit was exceeded"""

    def __init__(self) -> None:
        self.holds = True
        print(f"{'database':10} {'what':40} {'p50 ms':>9} {'p95 ms':>9} {'limit':>7}")

    def measure(self, database: str, what: str, call: Callable[[], Any], limit_ms: int) -> None:
        call()
        took: list[float] = []
        until_s = time.monotonic() + 20  # fewer calls show a slow case as well
        while len(took) < CALLS and time.monotonic() < until_s:
            start = time.perf_counter()
            call()
            took.append((time.perf_counter() - start) * 1000)
        took.sort()
        p50, p95 = took[len(took) // 2], took[int(len(took) * 0.95)]
        self._row(database, what, f"{p50:9.1f} {p95:9.1f} {limit_ms:7}", p95 <= limit_ms)

    def memory(self, database: str, what: str, short: int, long: int) -> None:
        figures = f"{short >> 10:6} kB {long >> 10:6} kB {MEMORY_RATIO:6.1f}x"
        self._row(database, what, figures, long <= short * MEMORY_RATIO)

    def _row(self, database: str, what: str, figures: str, holds: bool) -> None:
        self.holds &= holds
        print(f"{database:10} {what:40} {figures}{'' if holds else '  OVER'}", flush=True)


def measure_lists(table: Table, database: str, store: Store, count: int) -> None:
    draw = random.Random(1)
    orders = itertools.cycle(itertools.product(SORT_COLUMNS, (True, False)))
    for name, arguments in cases(count, draw).items():

        def call(arguments: Callable[[], dict[str, Any]] = arguments) -> Sequence[Thread]:
            sort_key, descending = next(orders)
            return store.threads.page(LOCAL_USER, sort_key=sort_key, descending=descending, limit=PAGE, **arguments())

        table.measure(database, name, call, LIST_LIMIT_MS)


def make_long_thread(backend: Backend, count: int) -> str:
    """Store a thread with this many items, a hundred in each turn. Return its id."""
    thread = make_thread(backend.store, backend.config, materialized=True)
    log: list[Item] = []
    rows: list[dict[str, Any]] = []
    for position in range(1, count + 1):
        if position % ITEMS_OF_TURN == 1:
            times = dict.fromkeys(
                ("created_at_ms", "queued_at_ms", "started_at_ms", "completed_at_ms"), FIRST_MS + position
            )
            done = {"phase": "done", "status": "completed", "options": {}, "published_state": 2}
            rows.append({"id": new_id(), "thread_id": thread.id, "owner": thread.owner, **done, **times})
        item: dict[str, Any]
        kind, item = "agentMessage", {"text": "what was said " * 20, "phase": None}
        if position % ITEMS_OF_TURN == 1:
            kind, item = "userMessage", {"content": [{"type": "text", "text": "go on", "text_elements": []}]}
        log.append(
            Item(
                id=new_id(),
                thread_id=thread.id,
                turn_id=rows[-1]["id"],
                position=position,
                kind=kind,
                item=item,
                started_at_ms=FIRST_MS + position,
                completed_at_ms=FIRST_MS + position,
                published_state=2,
            )
        )
    with backend.store.database.write() as connection:
        connection.execute(insert(turns), rows)
        append_items(connection, log)
    return thread.id


def measure_resumes(table: Table, database: str, backend: Backend) -> None:
    short, long = make_long_thread(backend, 5000), make_long_thread(backend, 100_000)
    client = backend.connect()
    variants: dict[str, dict[str, Any]] = {
        "excludeTurns": {"excludeTurns": True},
        "a page": {"excludeTurns": True, "initialTurnsPage": {}},
        "a full page of 5": {"excludeTurns": True, "initialTurnsPage": {"limit": 5, "itemsView": "full"}},
    }

    def resume(thread_id: str, asked: dict[str, Any]) -> None:
        client.frames.clear()
        client.call("thread/resume", {"threadId": thread_id, **asked})

    def peak(thread_id: str, asked: dict[str, Any]) -> int:
        tracemalloc.start()
        resume(thread_id, asked)
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return taken

    for name, asked in variants.items():
        table.measure(database, f"resume: {name}", partial(resume, long, asked), RESUME_LIMIT_MS)
        resume(short, asked)
        table.memory(database, f"resume: {name}, memory", peak(short, asked), peak(long, asked))


@contextmanager
def own_database(postgres: str) -> Iterator[str]:
    """Yield the URL of a migrated database that is dropped afterwards."""
    name = f"threadhouse_scale_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        try:
            url = make_url(postgres).set(drivername="postgresql+psycopg", database=name)
            address = url.render_as_string(hide_password=False)
            migrate(address)
            yield address
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def run(table: Table, database: str, url: str, count: int, home: Path) -> None:
    """Store the threads if there are none, and measure. home: the server's home folder"""
    template = home / "empty.sqlite3"
    template.touch()
    if database == "sqlite":
        template = home / "template.sqlite3"
        migrate(f"sqlite:///{template}")
    backend = make_backend(home, template, **({} if database == "sqlite" else {"database_url": url}))
    try:
        with backend.store.database.read() as connection:
            empty = connection.scalar(select(threads.c.id).limit(1)) is None
        if empty:
            fill(backend.store, Rows(count, defaults(make_config(home), LOCAL_USER, "")))
        measure_lists(table, database, backend.store, count)
        measure_resumes(table, database, backend)
    finally:
        backend.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", default="postgresql://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--only", choices=("sqlite", "postgres"))
    asked = parser.parse_args()
    table = Table()
    if asked.only != "postgres":
        with tempfile.TemporaryDirectory() as home:
            run(table, "sqlite", "", SQLITE_THREADS, Path(home))
    if asked.only != "sqlite":
        with own_database(asked.postgres) as url, tempfile.TemporaryDirectory() as home:
            run(table, "postgres", url, POSTGRES_THREADS, Path(home))
    return 0 if table.holds else 1


if __name__ == "__main__":
    sys.exit(main())
