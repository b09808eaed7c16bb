"""erasure.run: deleted data is removed everywhere, and the receipt counts it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from shared.clock import now_ms
from shared.config import Retention
from shared.config.feedback import FeedbackSettings
from shared.errors import Conflict, NotFound
from shared.event_names import thread_channel
from shared.events.log import decode_entries
from shared.store.audit import AuditEntry
from shared.store.erasures import Erasure
from shared.store.tables import erasures, metadata, threads
from shared.store.threads import Thread
from shared.store.users import User
from tests.workers.builders import Bench
from workers import sweep
from workers.sandbox import files
from workers.services import Services
from workers.tasks import erase, process_feedback, sweep_retention, write_session
from workers.workspace.folders import workspace_for

CANARY = "canary-7f3a-text"
OPERATOR = AuditEntry.of_operator("test")


@pytest.fixture
def bench(open_bench: Callable[..., Bench], tmp_path: Path) -> Bench:
    feedback = FeedbackSettings(tmp_path / "home" / "feedback", sinks=("database", "directory"))
    return open_bench(server={"sessions_dir": tmp_path / "home" / "sessions"}, feedback=feedback)


def full_thread(bench: Bench, owner: str = "local") -> Thread:
    """Return a thread with the canary in its message, its answer, a file, its name and its session file."""
    services = bench.workers[0]
    thread = bench.thread(owner)
    bench.run_turn(thread, f"[[say {CANARY}]]")
    services.store.threads.set_name(thread.id, owner, CANARY)
    folder = workspace_for(services.config.server.workspaces_dir, owner, thread.id)
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_text(CANARY)
    (folder / "link").symlink_to("/etc/passwd")
    write_session.run(services, thread.id)
    services.store.feedback.create(
        owner, thread_id=thread.id, classification="bug", reason=CANARY, include_logs=True, tags={}, per_day=0
    )
    process_feedback.run(services)
    return thread


def hits(bench: Bench, text: str = CANARY) -> set[str]:
    """Return where a text still is: tables, Redis keys, files. Tables that keep ids forever are not searched."""
    found = set()
    with bench.workers[0].store.database.read() as connection:
        for table in metadata.sorted_tables:
            rows = [tuple(row) for row in connection.execute(select(table))]  # the repr of a Row is shortened
            if table.name not in ("audit", "erasures") and text in repr(rows):
                found.add(str(table.name))
    client = bench.connect()
    for key in client.keys("*"):
        values = {b"stream": client.xrange, b"hash": client.hgetall, b"string": client.get}
        kind = client.type(key)
        if kind in values and text in repr(values[kind](key)):
            found.add(key.decode())
    for path in bench.home.rglob("*"):
        if "sqlite3" not in path.name and (
            text in str(path) or (path.is_file() and text.encode() in path.read_bytes())
        ):
            found.add(str(path.relative_to(bench.home)))
    return found


def receipts(services: Services) -> list[Erasure]:
    return services.store.erasures.all_users_page(after_id=None, limit=100)


def make_due(services: Services) -> None:
    with services.store.database.write() as connection:
        connection.execute(update(erasures).values(due_at_ms=0))


def test_deleted_thread_is_erased_everywhere_and_the_receipt_counts_it(bench: Bench) -> None:
    services = bench.workers[0]
    thread = full_thread(bench)
    assert {"items", "threads"} <= hits(bench)
    assert any("workspaces" in hit for hit in hits(bench))
    assert any("sessions" in hit for hit in hits(bench))
    assert {"feedback", "feedback_contents"} <= hits(bench)
    assert any(hit.endswith(".json") for hit in hits(bench))
    assert any(hit.startswith("th:") for hit in hits(bench))
    items, events = len(bench.items(thread)), services.log.count(thread.id)

    services.store.threads.delete(thread.id, thread.owner)
    erase.run(services)

    assert hits(bench) == set()
    (receipt,) = services.store.erasures.page(thread.owner, after_id=None, limit=9)
    assert receipt.done_at_ms is not None
    assert receipt.receipt == {
        "threads": 1, "turns": 1, "pending_inputs": 1, "items": items, "events": events, "workspace_files": 2,
        "session_files": 1, "feedback": 1,
    }  # fmt: skip
    assert services.store.erasures.page("somebody else", after_id=None, limit=9) == []


def test_interrupted_erasure_continues_and_keeps_its_first_count(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    services = bench.workers[0]
    thread = full_thread(bench)
    services.store.threads.delete(thread.id, thread.owner)

    def half_removed(root: Path, relative: Path, *, recursive: bool) -> None:
        shutil.rmtree(root / relative / "sub")
        raise OSError("the disk went away")

    with monkeypatch.context() as patched:
        patched.setattr(files, "remove_folder", half_removed)
        erase.run(services)
    assert [one.done_at_ms for one in receipts(services)] == [None]
    make_due(services)
    sweep.enqueue_erasures(services)  # enqueues a task that no worker runs
    erase.run(services)

    (receipt,) = receipts(services)
    assert receipt.done_at_ms is not None
    assert receipt.receipt["workspace_files"] == 2
    assert hits(bench) == set()


def test_erasure_waits_for_the_lease_of_a_running_turn(bench: Bench) -> None:
    services = bench.workers[0]
    thread = bench.thread()
    bench.begin(thread, "hello")
    assert services.store.claims.claim(["elsewhere"], lease_ms=60_000, turns_at_once=0)
    folder = workspace_for(services.config.server.workspaces_dir, thread.owner, thread.id)

    services.store.threads.delete(thread.id, thread.owner)
    erase.run(services)
    (folder / "written-late").touch()

    assert [one.done_at_ms for one in receipts(services)] == [None]
    make_due(services)
    erase.run(services)
    assert not folder.exists()


def test_session_files_of_many_threads_are_found_in_one_search(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    services = bench.workers[0]
    made = [full_thread(bench) for _ in range(3)]
    archived = made[0]
    services.store.threads.archive(archived.id, archived.owner)
    write_session.run(services, archived.id)
    for thread in made:
        services.store.threads.delete(thread.id, thread.owner)
    searched: list[Path] = []
    search = Path.rglob

    def rglob(folder: Path, pattern: str) -> Iterator[Path]:
        searched.append(folder)
        return search(folder, pattern)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rglob", rglob)
        erase.run(services)

    assert [folder.name for folder in searched] == ["sessions", "archived_sessions"]
    assert [one.receipt["session_files"] for one in receipts(services)] == [1, 1, 1]
    assert hits(bench) == set()


def test_a_process_erases_in_few_threads(bench: Bench) -> None:
    services = bench.workers[0]
    thread = full_thread(bench)
    services.store.threads.delete(thread.id, thread.owner)
    held = 0
    while services.erasing.acquire(blocking=False):
        held += 1
    assert held == 2

    erase.run(services)
    assert [one.done_at_ms for one in receipts(services)] == [None]

    services.erasing.release()
    erase.run(services)
    assert services.erasing.acquire(blocking=False), "it is free again"
    assert hits(bench) == set()


@pytest.fixture
def ada(bench: Bench) -> User:
    store = bench.workers[0].store
    store.users.add("bob")
    return store.users.add("ada")


def test_deleted_user_is_locked_out_at_once_and_erased_everywhere(bench: Bench, ada: User) -> None:
    services = bench.workers[0]
    store = services.store
    key = store.users.create_key("ada", "laptop")
    for _ in range(3):
        full_thread(bench, ada.id)
    running = bench.thread(ada.id)
    bench.begin(running, "never run")
    others = full_thread(bench)

    store.erasures.erase_user("ada", audit_entry=OPERATOR)

    assert store.users.find_by_key(key) is None
    erase.run(services)
    make_due(services)
    erase.run(services)
    (receipt,) = receipts(services)
    assert (receipt.kind, receipt.subject_id, receipt.done_at_ms is None) == ("user", ada.id, False)
    counts = receipt.receipt
    assert (counts["users"], counts["api_keys"], counts["threads"], counts["turns"]) == (1, 1, 4, 4)
    assert (counts["workspace_files"], counts["session_files"]) == (6, 3)
    assert hits(bench, ada.id) == set()
    assert store.threads.find(others.id, others.owner) is not None
    assert hits(bench) != set()


def test_last_user_is_not_deleted(bench: Bench) -> None:
    store = bench.workers[0].store
    store.users.add("ada")

    with pytest.raises(Conflict, match="last user"):
        store.erasures.erase_user("ada", audit_entry=OPERATOR)
    with pytest.raises(NotFound, match="no user 'eve'"):
        store.erasures.erase_user("eve", audit_entry=OPERATOR)

    assert store.users.find("ada") is not None


def test_retention_sweep_removes_what_is_too_old(open_bench: Callable[..., Bench]) -> None:
    retention = Retention(threads_days=30, archived_threads_days=10, audit_days=90, receipts_days=90)
    bench = open_bench(retention=retention)
    services = bench.workers[0]
    store = services.store
    days = {name: bench.thread() for name in ("new", "old", "archived", "old archived")}
    for thread in days.values():
        bench.run_turn(thread, "hello")
    for name, age in (("new", 29), ("old", 31), ("archived", 9), ("old archived", 11)):
        if "archived" in name:
            store.threads.archive(days[name].id, "local")
        with store.database.write() as connection:
            aged = update(threads).where(threads.c.id == days[name].id)
            connection.execute(aged.values(updated_at_ms=now_ms() - age * sweep_retention.DAY_MS))

    clients = services.redis.pubsub()
    clients.subscribe(*(thread_channel(thread.id) for thread in days.values()))

    sweep_retention.run(services)
    erase.run(services)

    left = {name for name, thread in days.items() if store.threads.find(thread.id, "local")}
    assert left == {"new", "archived"}
    messages = [message for message in iter(clients.get_message, None) if message["type"] == "message"]
    told = {message["channel"].decode(): decode_entries(message["data"]) for message in messages}
    assert told.keys() == {thread_channel(days[name].id) for name in ("old", "old archived")}
    assert {entry.method for entries in told.values() for entry in entries} == {"thread/deleted"}
    assert [one.cause for one in receipts(services)] == ["retention", "retention"]
