"""session.write: a thread's file in the folder of session files."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from shared import rollout
from shared.clock import now_ms
from shared.store import Store
from shared.store.connection import Database
from shared.store.histories import Histories
from shared.store.tables import threads
from shared.store.threads import Thread
from shared.store.turns import Turn
from tests.builders import make_thread
from tests.workers.builders import Bench
from workers.tasks import write_session


@pytest.fixture
def bench(open_bench: Callable[..., Bench], tmp_path: Path) -> Bench:
    return open_bench(server={"sessions_dir": tmp_path / "home" / "sessions"})


def write(bench: Bench, thread: Thread) -> None:
    write_session.run(bench.workers[0], thread.id)


def files(bench: Bench) -> list[str]:
    """Return all files below the parent of the sessions folder, drafts included."""
    folders = (bench.home / "sessions", bench.home / "archived_sessions")
    return [str(path.relative_to(bench.home)) for one in folders for path in sorted(one.rglob("*")) if path.is_file()]


def test_file_has_the_turns_that_have_ended(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.run_turn(thread, "[[run echo hello]] [[say Done.]]")
    bench.begin(thread, "this one waits")

    write(bench, thread)

    (name,) = files(bench)
    assert name == f"sessions/{rollout.file_name(thread)}"
    found = rollout.read((bench.home / name).open("rb"), thread.owner)
    assert [one.id for one in found.turns] == [turn.id]
    shown = [item.wire() for item in found.items if item.item is not None]
    assert shown == bench.shown(thread)
    assert [i for row in found.items for i in row.model_items] == [
        item for row in bench.items(thread) for item in row.model_items
    ]


def test_a_thread_whose_file_cannot_be_written_does_not_hold_up_the_others(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    hindered, other = bench.thread(), bench.thread()
    for thread in (hindered, other):
        bench.run_turn(thread, "hello")
    (bench.home / "sessions" / rollout.file_name(hindered)).mkdir(parents=True)

    write_session.run(bench.workers[0], hindered.id, other.id)

    assert files(bench) == [f"sessions/{rollout.file_name(other)}"]
    assert due_at_ms(bench, hindered) is not None
    [record] = [one for one in caplog.records if "session file not written" in one.message]
    assert record.__dict__["thread_id"] == hindered.id


def test_file_is_readable_by_the_server_only(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "hello")

    write(bench, thread)

    path = bench.home / files(bench)[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_next_turn_is_added_to_the_same_file(bench: Bench) -> None:
    thread = bench.thread()
    for text in ("one", "two"):
        bench.run_turn(thread, text)
        write(bench, thread)

    (name,) = files(bench)
    assert len(rollout.turn_ids((bench.home / name).open("rb"))) == 2


def test_file_of_an_archived_thread_moves_and_returns(bench: Bench) -> None:
    thread, store = bench.thread(), bench.workers[0].store
    bench.run_turn(thread, "hello")
    name = rollout.file_name(thread)
    write(bench, thread)

    store.threads.archive(thread.id, thread.owner)
    write(bench, thread)
    assert files(bench) == [f"archived_sessions/{name.name}"]

    store.threads.unarchive(thread.id, thread.owner)
    write(bench, thread)
    assert files(bench) == [f"sessions/{name}"]


def test_threads_without_turns_and_ephemeral_threads_have_no_file(bench: Bench) -> None:
    unused, worker = bench.thread(), bench.workers[0]
    ephemeral = make_thread(worker.store, worker.config, settings=unused.settings, ephemeral=True)
    bench.run_turn(ephemeral, "hello")
    worker.store.threads.set_name(unused.id, unused.owner, "a name")

    for thread in (unused, ephemeral):
        assert due_at_ms(bench, thread) is not None
        write(bench, thread)
        assert due_at_ms(bench, thread) is None, "it would be tried every minute"

    assert files(bench) == []


def test_nothing_is_written_without_a_sessions_dir(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench()
    thread = bench.thread()
    bench.run_turn(thread, "hello")

    write(bench, thread)

    assert files(bench) == []


class Interrupted(Histories):
    """Calls a function right after a thread is read for the first time."""

    def __init__(self, database: Database, happens: Callable[[], object]) -> None:
        super().__init__(database)
        self._happens: list[Callable[[], object]] = [happens]

    def all_users_find(self, thread_id: str) -> tuple[Thread, list[Turn]] | None:
        found = super().all_users_find(thread_id)
        while self._happens:
            self._happens.pop()()
        return found


def write_while(bench: Bench, thread: Thread, happens: Callable[[], object]) -> None:
    """Write a thread's file while something happens to the thread."""
    store = Store(bench.workers[0].config.database_url)
    store.histories = Interrupted(store.database, happens)
    write_session.write(store, bench.home / "sessions", thread.id)
    store.close()


def due_at_ms(bench: Bench, thread: Thread) -> int | None:
    with bench.workers[0].store.database.read() as connection:
        query = select(threads.c.session_due_at_ms).where(threads.c.id == thread.id)
        found: int | None = connection.scalar(query)
    return found


def turns_in_file(bench: Bench) -> int:
    (name,) = files(bench)
    return len(rollout.turn_ids((bench.home / name).open("rb")))


def test_slow_writer_does_not_overwrite_a_newer_file(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "one")

    def go_on() -> None:
        bench.run_turn(thread, "two")
        write(bench, thread)

    write_while(bench, thread, go_on)

    assert turns_in_file(bench) == 2


def test_a_thread_that_goes_on_is_written_once_and_is_due_again(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "one")

    for number in (1, 2, 3):
        write_while(bench, thread, lambda: bench.run_turn(thread, "more"))

        assert turns_in_file(bench) == number  # as of the moment at which the thread was read
        assert (due_at_ms(bench, thread) or 0) > now_ms()

    write(bench, thread)
    assert turns_in_file(bench) == 4
    assert due_at_ms(bench, thread) is None


def test_a_thread_that_is_deleted_while_it_is_written_leaves_no_file(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "one")

    write_while(bench, thread, lambda: bench.workers[0].store.threads.delete(thread.id, thread.owner))

    assert files(bench) == []


def test_turns_that_were_removed_from_a_thread_leave_its_file(bench: Bench) -> None:
    thread = bench.thread()
    kept = bench.run_turn(thread, "[[say Hello.]]")
    removed = bench.run_turn(thread, "my password is hunter2 [[say Hm.]]")
    write(bench, thread)

    bench.workers[0].store.histories.revert(thread.id, thread.owner, removed.id, has_session_file=True)

    assert due_at_ms(bench, thread) is not None
    write(bench, thread)
    assert due_at_ms(bench, thread) is None
    (name,) = files(bench)
    assert "hunter2" not in (bench.home / name).read_text()
    later = bench.run_turn(thread, "[[say Hello again.]]")
    write(bench, thread)
    found = rollout.read((bench.home / name).open("rb"), thread.owner)
    assert [one.id for one in found.turns] == [kept.id, later.id]

    bench.workers[0].store.histories.revert(thread.id, thread.owner, kept.id, has_session_file=True)
    write(bench, thread)
    assert files(bench) == []


def test_file_with_foreign_turns_is_not_changed(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "one")
    write(bench, thread)
    path = bench.home / files(bench)[0]
    with path.open("ab") as file:
        file.write(b'{"type": "event_msg", "payload": {"type": "task_started", "turn_id": "of codex"}}\n')
    before = path.read_bytes()

    bench.run_turn(thread, "two")
    write(bench, thread)

    assert path.read_bytes() == before
