"""The journal publishes what it stores, in order and complete, whatever Redis and the database do meanwhile."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from shared.clock import now_ms
from shared.errors import ClaimLost
from shared.events.log import NO_EVENT, Batch, Event, EventLog
from shared.protocol.notifications import AGENT_DELTA
from shared.store import Store
from shared.store.tables import turns
from shared.store.threads import Thread
from shared.store.turns import Claim, Turn
from shared.store.usage import Spent
from shared.store.writes import End, Published, Write
from tests.builders import delta, make_message
from tests.shared.store.records import row, unread_inputs
from tests.support import order
from tests.support.wait import DEADLINE_SECONDS, until
from tests.workers.builders import Bench, Unreliable, read_entries, start
from workers.control.signal import Signal, StopReason
from workers.journal import journal as journal_module
from workers.journal import publisher
from workers.journal.claimed_turn import ClaimedTurn
from workers.journal.committer import MARK_SECONDS
from workers.journal.journal import Journal
from workers.journal.turn_writer import TurnWriter


class UnreliableLog(EventLog):
    """An event log whose Redis can fail.

    away:  nothing arrives
    lossy: the next batch arrives, and its answer is lost
    """

    away = False
    lossy = False
    tries = 0

    def publish(self, batches: Sequence[Batch]) -> list[str]:
        self.tries += 1
        if self.away:
            raise redis.ConnectionError("away")
        answers = super().publish(batches)
        if self.lossy:
            self.lossy = False
            raise redis.TimeoutError("no answer")
        return answers


class JournalBench:
    """A journal of its own over a bench's store and Redis, with a thread to claim turns of."""

    def __init__(self, bench: Bench, **seconds: float) -> None:
        self.bench = bench
        self.store = bench.workers[0].store
        self.log = UnreliableLog(bench.connect(), max_entries=10_000, max_bytes=1 << 25)
        times = {"lease_seconds": 30.0, "renewal_seconds": 10.0, "authority_seconds": 25.0} | seconds
        self.lease_ms = round(times["lease_seconds"] * 1000)
        self.journal = Journal(self.store, self.log, **times)
        self.journal.start()
        self.thread = bench.thread()
        self.numbers = itertools.count(1)

    def claim(self) -> tuple[Claim, ClaimedTurn, Signal]:
        self.bench.begin(self.thread, "hello")
        claimed_at = time.monotonic()
        (claim,) = self.store.claims.claim(["setup"], lease_ms=self.lease_ms, turns_at_once=0)
        signal = Signal()
        return claim, self.journal.acquire(claim, signal, claimed_at), signal

    def start_item(self, claimed: ClaimedTurn, item_id: str) -> None:
        params = {"threadId": claimed.claim.thread_id, "turnId": claimed.claim.turn_id, "item": {"id": item_id}}
        started = Event("item/started", params, key=f"item:{item_id}:started", item_id=item_id, role="start")
        self.journal.publish(claimed, started, urgent=True)

    def publish_text(self, claimed: ClaimedTurn, item_id: str, text: str) -> None:
        self.journal.publish(claimed, delta(claimed.claim.thread_id, item_id, text))

    def published(self, method: str = "item/agentMessage/delta") -> list[dict[str, Any]]:
        entries = self.log.read(self.thread.id, NO_EVENT, 100_000)
        return [params for name, params in read_entries(entries) if name == method]

    def text(self) -> str:
        return "".join(params["delta"] for params in self.published())


def open_text(bench: Bench, thread: Thread) -> str:
    """Return the text of the thread's open items in the log."""
    snapshot = bench.workers[0].log.snapshot(thread.id)
    return "".join(text for item in snapshot.open_items for text in item.texts.values())


@pytest.fixture
def setup(bench: Bench) -> Any:
    made = JournalBench(bench)
    yield made
    made.journal.stop(5)


def test_deltas_are_joined_and_no_text_is_dropped(setup: JournalBench) -> None:
    _, claimed, _ = setup.claim()
    setup.start_item(claimed, "i")
    words = [f"w{number} " for number in range(3000)]

    for word in words:
        setup.publish_text(claimed, "i", word)

    until(lambda: setup.text() == "".join(words))
    assert len(setup.published()) < 300


def test_deltas_of_two_streams_are_not_mixed(setup: JournalBench) -> None:
    _, claimed, _ = setup.claim()
    setup.start_item(claimed, "a")
    setup.start_item(claimed, "b")

    for word in ("a1 ", "b1 ", "b2 ", "a2 ", "a3 "):
        setup.publish_text(claimed, word[0], word)
    setup.journal.publish(claimed, Event("mark", {}), urgent=True)

    until(lambda: setup.published("mark"))
    deltas = [(params["itemId"], params["delta"]) for params in setup.published()]
    assert "".join(text for _, text in deltas) == "a1 b1 b2 a2 a3 "
    assert all(text.startswith(item_id) for item_id, text in deltas)
    texts = {item.item_id: item.texts for item in setup.log.snapshot(setup.thread.id).open_items}
    assert texts == {"a": {"item/agentMessage/delta": "a1 a2 a3 "}, "b": {"item/agentMessage/delta": "b1 b2 "}}


def test_an_outage_of_redis_is_logged_when_it_begins_and_when_it_ends(
    setup: JournalBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "workers.journal.publisher")
    _, claimed, _ = setup.claim()
    setup.log.away = True
    for number in range(3):
        tries = setup.log.tries
        setup.journal.publish(claimed, Event(f"mark{number}", {}), urgent=True)
        until(lambda tries=tries: setup.log.tries > tries)
    setup.log.away = False
    until(lambda: setup.published("mark2"))

    until(lambda: len(caplog.records) == 2)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_rows_are_stored_before_their_events_are_published(setup: JournalBench) -> None:
    claim, claimed, _ = setup.claim()
    setup.log.away = True

    assert (
        setup.journal.store(claimed, Write(claim, append=[row(claim)]), Event("mark", {})).result(DEADLINE_SECONDS)
        == "ok"
    )

    assert len(setup.store.items.of_turn(claim.turn_id)) == 1
    assert setup.published("mark") == []
    setup.log.away = False
    until(lambda: setup.published("mark"))


def test_redis_outage_delays_events_without_losing_or_reordering_them(bench: Bench) -> None:
    client = Unreliable(server=bench.redis_server)
    worker = bench.worker(lambda *_, **__: client)
    thread = bench.thread()
    turn = bench.begin(thread, "[[say one two]][[pause p]][[say three four]][[run echo ran]][[say five six]]")
    running = bench.start_run(worker)
    bench.model.wait_reached("p")

    client.away = True
    bench.model.release("p")
    running.join()
    assert bench.turn(turn).status == "completed"
    assert "turn/completed" not in [method for method, _ in bench.events(thread)]
    client.away = False
    bench.settle()

    seen = order.check(bench.events(thread))
    assert seen.turns == {turn.id: "completed"}
    assert {item["id"] for item in bench.shown(thread)} == set(seen.completed) == set(seen.started)


def test_events_held_back_by_an_outage_are_dropped_after_the_sweep_published_the_end(bench: Bench) -> None:
    client = Unreliable(server=bench.redis_server)
    worker = bench.worker(lambda *_, **__: client)
    thread = bench.thread()
    turn = bench.begin(thread, "[[pause p]][[say one two three]]")
    running = bench.start_run(worker)
    bench.model.wait_reached("p")
    client.away = True
    bench.model.release("p")
    running.join()

    bench.sweep()
    events = bench.events(thread)
    client.away = False
    bench.run_turn(thread, "next")

    assert order.check(events, lost=True).turns == {turn.id: "completed"}
    assert bench.events(thread)[: len(events)] == events
    assert len(order.check(bench.events(thread), lost=True).turns) == 2


def test_batch_whose_answer_was_lost_is_not_published_twice(setup: JournalBench) -> None:
    _, claimed, _ = setup.claim()
    setup.start_item(claimed, "i")
    until(lambda: setup.published("item/started"))
    setup.log.lossy = True

    setup.journal.publish(claimed, delta(setup.thread.id, "i", "once "), urgent=True)
    until(lambda: not setup.log.lossy)
    setup.journal.publish(claimed, delta(setup.thread.id, "i", "more "), urgent=True)

    until(lambda: "more " in setup.text())
    assert setup.text() == "once more "


def test_log_lost_during_a_turn_is_refilled(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, "[[run echo ran]][[say one two ]][[pause p]][[say three four]]")
    running = bench.start_run()
    bench.model.wait_reached("p")
    until(lambda: open_text(bench, thread) == "one two ")

    bench.connect().flushall()
    name = Event("thread/name/updated", {"threadId": thread.id, "threadName": "n"})
    log = bench.workers[0].log
    log.publish([log.batch(thread.id, thread.owner, [name])])  # another writer comes first, so that a log exists again
    bench.model.release("p")
    running.join()
    bench.settle()

    events = [event for event in bench.events(thread) if not event[0].startswith("thread/name")]
    names = order.methods(events)
    assert names.count("turn/started") == names.count("turn/completed") == 1
    completed = [params["item"]["id"] for method, params in events if method == "item/completed"]
    assert completed == [item["id"] for item in bench.shown(thread)]
    assert bench.turn(turn).status == "completed"
    assert bench.workers[0].log.snapshot(thread.id).open_items == []


def test_refilled_log_has_open_items_with_all_their_text(bench: Bench) -> None:
    thread = bench.thread()
    bench.begin(thread, "[[say one two ]][[pause p]][[say three ]][[pause q]][[say four]]")
    running = bench.start_run()
    bench.model.wait_reached("p")
    until(lambda: open_text(bench, thread) == "one two ")

    bench.connect().flushall()
    bench.model.release("p")
    bench.model.wait_reached("q")

    until(lambda: open_text(bench, thread) == "one two three ")
    bench.model.release("q")
    running.join()


def test_refused_write_fails_only_its_own_turn(setup: JournalBench) -> None:
    claim, claimed, _ = setup.claim()
    other = JournalBench(setup.bench)
    other.journal = setup.journal
    claim2, claimed2, _ = other.claim()

    bad = setup.journal.store(claimed, Write(claim, append=[row(claim, item={"text": "\ud800"})]), Event("bad", {}))
    good = setup.journal.store(claimed2, Write(claim2, append=[row(claim2)]), Event("good", {}))

    assert good.result(DEADLINE_SECONDS) == "ok"
    with pytest.raises(Exception, match=r"surrogates|UTF-8"):
        bad.result(DEADLINE_SECONDS)
    until(lambda: other.published("good"))
    assert setup.published("bad") == []
    after = setup.journal.store(claimed, Write(claim, append=[row(claim)]), Event("after", {}))
    assert after.result(DEADLINE_SECONDS) == "ok"


@pytest.mark.parametrize(
    "event",
    [Event("bad", {"text": "\ud800"}), Event("bad", text=["a"]), Event("bad", text=None)],  # type: ignore[arg-type]
    ids=["surrogate", "list", "null"],
)
def test_event_that_cannot_be_encoded_revokes_only_its_own_turn(setup: JournalBench, event: Event) -> None:
    _, claimed, signal = setup.claim()
    other = JournalBench(setup.bench)
    other.journal = setup.journal
    _, claimed2, signal2 = other.claim()

    setup.journal.publish(claimed, event, urgent=True)
    other.journal.publish(claimed2, Event("good", {}), urgent=True)

    until(lambda: StopReason.REVOKED in signal)
    until(lambda: other.published("good"))
    assert StopReason.REVOKED not in signal2


def test_text_that_is_none_is_refused_where_the_turn_adds_it(setup: JournalBench) -> None:
    claim, claimed, _ = setup.claim()
    writer = TurnWriter(claim, claimed, setup.journal)

    writer.publish_delta(AGENT_DELTA, "item", "a")
    for strange in (None, 5, ["b"], {"text": "b"}):
        with pytest.raises(TypeError):
            writer.publish_delta(AGENT_DELTA, "item", strange)  # type: ignore[arg-type]
    writer.publish_delta(AGENT_DELTA, "item", "b")

    until(lambda: "".join(params["delta"] for params in setup.published(AGENT_DELTA)) == "ab")


class Outages:
    """Outages of the database that a store commits to: of each commit for which `fails` returns true.

    stores: whether a commit that fails is stored all the same, as when the reply to COMMIT is lost
    """

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails: Callable[[Sequence[Write]], bool] = lambda writes: False
        self.stores = False
        self.count = 0
        self._commit = store.commit
        monkeypatch.setattr(store, "commit", self._try)

    def _try(self, writes: Sequence[Write], published: Published, **options: Any) -> list[str]:
        if not self.fails(writes):
            return self._commit(writes, published, **options)
        if self.stores:
            self._commit(writes, published, **options)
        self.count += 1
        raise OperationalError(None, None, Exception("no answer"))


@pytest.fixture
def outages(setup: JournalBench, monkeypatch: pytest.MonkeyPatch) -> Outages:
    return Outages(setup.store, monkeypatch)


def test_database_outage_loses_no_write(setup: JournalBench, outages: Outages) -> None:
    claim, claimed, _ = setup.claim()
    outages.fails = bool

    stored = setup.journal.store(claimed, Write(claim, append=[row(claim)]), Event("mark", {}))
    until(lambda: outages.count == 3)
    outages.fails = lambda writes: False

    assert stored.result(DEADLINE_SECONDS) == "ok"
    until(lambda: setup.published("mark"))


def test_text_does_not_wait_for_the_database(setup: JournalBench, outages: Outages) -> None:
    claim, claimed, _ = setup.claim()
    other = JournalBench(setup.bench)
    other.journal = setup.journal
    _, claimed2, _ = other.claim()
    outages.fails = lambda writes: True

    stored = setup.journal.store(claimed, Write(claim, append=[row(claim)]), Event("mark", {}))
    setup.journal.publish(claimed, Event("behind", {}))
    other.start_item(claimed2, "i")
    for number in range(3):
        other.publish_text(claimed2, "i", str(number))
        until(lambda: other.text().endswith(str(number)))  # noqa: B023

    assert not stored.done()
    assert not setup.published("mark")
    assert not setup.published("behind")
    outages.fails = lambda writes: False
    until(lambda: setup.published("behind"))
    assert setup.published("mark")


def test_a_turn_is_published_behind_the_end_of_the_one_before_it(setup: JournalBench, outages: Outages) -> None:
    claim, claimed, _ = setup.claim()
    inputs = [(pending.id, "i") for pending in unread_inputs(setup.store, claim.turn_id)]
    assert setup.store.commit([Write(claim, append=[row(claim)], read=inputs)], Published()) == ["ok"]
    outages.fails, outages.stores = (lambda writes: True), True  # the end is stored, without a reply

    setup.journal.store(claimed, Write(claim, end=End("completed", now_ms())), Event("ended", {}))
    until(lambda: setup.bench.turn(claim.turn).status == "completed")
    _, claimed2, _ = setup.claim()
    setup.journal.publish(claimed2, Event("begun", {}), urgent=True)
    tried = outages.count
    until(lambda: outages.count > tried + 1)
    outages.fails = lambda writes: False

    until(lambda: setup.published("begun"))
    entries = setup.log.read(setup.thread.id, NO_EVENT, 100_000)
    assert [name for name, _ in read_entries(entries) if name in ("begun", "ended")] == ["ended", "begun"]


def test_commit_without_a_reply_is_stored_once(setup: JournalBench, outages: Outages) -> None:
    claim, claimed, signal = setup.claim()
    setup.store.commit([], Published())
    inputs = [(pending.id, "i") for pending in unread_inputs(setup.store, claim.turn_id)]
    writes = [
        Write(claim, append=[row(claim)], spent=Spent("m", 7), read=inputs),
        Write(claim, append=[row(claim, position=2)]),
        Write(claim, spent=Spent("m", 11), settles=True),
        Write(claim, end=End("completed", now_ms())),
    ]

    for number, write in enumerate(writes):
        outages.fails, outages.stores = (lambda writes: outages.count <= number), True  # noqa: B023
        stored = setup.journal.store(claimed, write, Event(f"mark{number}", {}))
        assert stored.result(DEADLINE_SECONDS) == "ok"

    for number in range(len(writes)):
        until(lambda: setup.published(f"mark{number}"))  # noqa: B023
    assert [item.position for item in setup.store.items.of_turn(claim.turn_id)] == [1, 2]
    assert setup.store.usage.totals(claim.owner)[0] == 18
    assert setup.bench.turn(claim.turn).status == "completed"
    assert StopReason.REVOKED not in signal


def test_write_that_is_never_stored_delays_other_turns_and_does_not_stop_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = JournalBench(bench, lease_seconds=30.0, renewal_seconds=1.0, authority_seconds=25.0)
    outages = Outages(setup.store, monkeypatch)
    claim, claimed, _ = setup.claim()
    other = JournalBench(bench)
    other.journal = setup.journal
    claim2, claimed2, _ = other.claim()
    outages.fails = lambda writes: any(write.claim is claim for write in writes)

    bad = setup.journal.store(claimed, Write(claim, append=[row(claim)]), urgent=False)
    for position in (1, 2):
        good = setup.journal.store(claimed2, Write(claim2, append=[row(claim2, position=position)]))
        assert good.result(DEADLINE_SECONDS) == "ok"

    assert not bad.done()
    bench.lose(bench.turn(claim.turn), bench.workers[0])
    with pytest.raises(ClaimLost):
        bad.result(DEADLINE_SECONDS)
    setup.journal.stop(5)


def test_outage_while_each_turn_is_stored_alone_fails_no_turn(setup: JournalBench, outages: Outages) -> None:
    claim, claimed, _ = setup.claim()
    other = JournalBench(setup.bench)
    other.journal = setup.journal
    claim2, claimed2, _ = other.claim()
    outages.fails = lambda writes: outages.count < 2 and len({write.claim.turn_id for write in writes}) == 1

    bad = setup.journal.store(
        claimed, Write(claim, append=[row(claim, item={"text": "\ud800"})]), Event("bad", {}), urgent=False
    )
    good = setup.journal.store(claimed2, Write(claim2, append=[row(claim2)]), Event("good", {}), urgent=False)

    assert good.result(DEADLINE_SECONDS) == "ok"
    with pytest.raises(Exception, match=r"surrogates|UTF-8"):
        bad.result(DEADLINE_SECONDS)


def test_text_waits_and_is_joined_after_a_publication_that_took_long(
    setup: JournalBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, claimed, _ = setup.claim()
    setup.start_item(claimed, "i")
    monkeypatch.setattr(journal_module, "FLUSH_SHARE", 1e12)
    monkeypatch.setattr(journal_module, "LONGEST_FLUSH_SECONDS", 1e9)
    setup.publish_text(claimed, "i", "a ")
    until(lambda: setup.journal._pause_seconds == 1e9)

    for text in ("b ", "c "):
        setup.publish_text(claimed, "i", text)
    setup.journal.publish(claimed, Event("urgent", {}), urgent=True)

    until(lambda: setup.published("urgent"))
    assert [params["delta"] for params in setup.published()] == ["a ", "b c "]


def test_urgent_entries_do_not_wait_for_the_next_tick(setup: JournalBench, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, claimed, _ = setup.claim()
    setup.start_item(claimed, "i")
    until(lambda: setup.published("item/started"))
    monkeypatch.setattr(journal_module, "FLUSH_SECONDS", 1e9)

    for number in range(3):
        stored = setup.journal.store(claimed, Write(claim, append=[row(claim, position=number + 1)]))
        assert stored.result(DEADLINE_SECONDS) == "ok"
    waiting = setup.journal.store(claimed, Write(claim, append=[row(claim, position=9)]), urgent=False)
    setup.publish_text(claimed, "i", "later ")
    assert setup.journal._due_at() > time.monotonic()
    assert not waiting.done()
    monkeypatch.undo()

    assert waiting.result(DEADLINE_SECONDS) == "ok"
    until(lambda: setup.text() == "later ")


def test_only_a_commit_after_an_outage_looks_for_what_is_stored(
    setup: JournalBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, claimed, _ = setup.claim()
    repeated: list[object] = []
    commit = setup.store.commit

    def commit_after_an_outage(writes: Sequence[Write], published: Published, **options: Any) -> list[str]:
        repeated.append(options["repeated"])
        if len(repeated) == 1:
            raise OperationalError(None, None, Exception("no answer"))
        return commit(writes, published, **options)

    monkeypatch.setattr(setup.store, "commit", commit_after_an_outage)
    for number in range(2):
        assert (
            setup.journal.store(claimed, Write(claim, append=[row(claim, number + 1)])).result(DEADLINE_SECONDS) == "ok"
        )

    assert repeated == [False, True, False]


def test_round_that_fails_is_repeated_after_a_while(setup: JournalBench, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, claimed, _ = setup.claim()
    tried_at: list[float] = []
    publish = setup.log.publish

    def fail_twice(batches: Sequence[Batch]) -> list[str]:
        tried_at.append(time.monotonic())
        if len(tried_at) < 3:
            raise RuntimeError("nobody expected this")
        return publish(batches)

    monkeypatch.setattr(setup.log, "publish", fail_twice)
    assert (
        setup.journal.store(claimed, Write(claim, append=[row(claim)]), Event("mark", {})).result(DEADLINE_SECONDS)
        == "ok"
    )

    until(lambda: setup.published("mark"))
    assert tried_at[1] - tried_at[0] > publisher.RETRY_SECONDS * 0.9


def test_lost_log_is_refilled_once_the_database_answers(setup: JournalBench, monkeypatch: pytest.MonkeyPatch) -> None:
    _, claimed, _ = setup.claim()
    setup.journal.publish(claimed, Event("before", {}), urgent=True)
    until(lambda: setup.published("before"))
    tried_at: list[float] = []
    get = setup.store.turns.get

    def fail_once(turn_id: str, owner: str) -> Turn:
        tried_at.append(time.monotonic())
        if len(tried_at) == 1:
            raise OperationalError(None, None, Exception("no answer"))
        return get(turn_id, owner)

    monkeypatch.setattr(setup.store.turns, "get", fail_once)
    setup.bench.connect().flushall()
    setup.journal.publish(claimed, Event("after", {}), urgent=True)

    until(lambda: setup.published("after"))
    assert len(tried_at) == 2
    assert tried_at[1] - tried_at[0] > publisher.RETRY_SECONDS * 0.9


def test_log_of_a_deleted_thread_is_not_refilled(setup: JournalBench) -> None:
    _, claimed, signal = setup.claim()
    setup.journal.publish(claimed, Event("before", {}), urgent=True)
    until(lambda: setup.published("before"))
    setup.store.threads.delete(setup.thread.id, setup.thread.owner)
    setup.bench.connect().flushall()

    setup.journal.publish(claimed, Event("after", {}), urgent=True)

    until(lambda: StopReason.REVOKED in signal)
    setup.journal.stop(5)
    assert setup.published("after") == []


def test_authority_ends_by_the_clock_without_renewals(bench: Bench) -> None:
    setup = JournalBench(bench, lease_seconds=1.0, renewal_seconds=0.2, authority_seconds=0.6)
    claim, claimed, signal = setup.claim()
    block = setup.store.database.engine.connect()
    block.exec_driver_sql("BEGIN IMMEDIATE")
    stored = setup.journal.store(claimed, Write(claim, append=[row(claim)]), Event("mark", {}))

    until(lambda: StopReason.REVOKED in signal)

    with pytest.raises(ClaimLost):
        stored.result(DEADLINE_SECONDS)  # the turn does not wait for the database
    with pytest.raises(ClaimLost):
        setup.journal.store(claimed, Write(claim)).result(DEADLINE_SECONDS)
    block.rollback()
    block.close()
    setup.journal.publish(claimed, Event("late", {}), urgent=True)
    setup.journal.stop(5)
    assert setup.published("late") == setup.published("mark") == []


def test_renewed_claim_stays_valid(bench: Bench) -> None:
    setup = JournalBench(bench, lease_seconds=30.0, renewal_seconds=0.1, authority_seconds=25.0)
    claim, claimed, signal = setup.claim()
    first_s, first_ms = claimed.renewed_at, lease_end_ms(setup, claim)

    until(lambda: claimed.renewed_at > first_s + 0.2 and lease_end_ms(setup, claim) > first_ms + 200)

    assert setup.store.recovery.all_users_requeue_lost(max_lost_attempts=3) == ([], [])
    assert StopReason.REVOKED not in signal
    assert setup.store.claims.renew([claim], lease_ms=1000) == {claim.turn_id}
    setup.journal.stop(5)


def lease_end_ms(setup: JournalBench, claim: Claim) -> int:
    """Return until when other workers leave the turn alone."""
    with setup.store.database.read() as connection:
        return int(connection.scalar(select(turns.c.lease_until_ms).where(turns.c.id == claim.turn_id)) or 0)


def test_claiming_a_turn_again_revokes_the_earlier_claim(setup: JournalBench) -> None:
    claim, claimed, signal = setup.claim()
    setup.bench.lose(setup.bench.turn(claim.turn), setup.bench.workers[0])
    (again,) = setup.store.claims.claim(["setup"], lease_ms=setup.lease_ms, turns_at_once=0)

    claimed_again = setup.journal.acquire(again, Signal(), time.monotonic())

    assert StopReason.REVOKED in signal
    with pytest.raises(ClaimLost):
        setup.journal.store(claimed, Write(claim, append=[row(claim)])).result(DEADLINE_SECONDS)
    assert setup.journal.store(claimed_again, Write(again, append=[row(again)])).result(DEADLINE_SECONDS) == "ok"


def test_renewal_revokes_a_claim_that_another_worker_has(bench: Bench) -> None:
    setup = JournalBench(bench, lease_seconds=30.0, renewal_seconds=0.1, authority_seconds=25.0)
    claim, _, signal = setup.claim()

    bench.lose(bench.turn(claim.turn), bench.workers[0])

    until(lambda: StopReason.REVOKED in signal)
    setup.journal.stop(5)


def test_failing_listener_does_not_stop_the_journal(setup: JournalBench) -> None:
    claim, claimed, signal = setup.claim()
    other = JournalBench(setup.bench)
    other.journal = setup.journal
    claim2, claimed2, _ = other.claim()
    bench = setup.bench

    def fail(_: StopReason) -> None:
        raise RuntimeError("a listener failed")

    with signal.subscribed(fail):
        bench.lose(bench.turn(claim.turn), bench.workers[0])
        with pytest.raises(ClaimLost):
            setup.journal.store(claimed, Write(claim, append=[row(claim)])).result(DEADLINE_SECONDS)

    assert setup.journal.store(claimed2, Write(claim2, append=[row(claim2)])).result(DEADLINE_SECONDS) == "ok"


def test_stop_stores_and_publishes_what_is_left(setup: JournalBench) -> None:
    claim, claimed, _ = setup.claim()
    setup.start_item(claimed, "i")
    stored = setup.journal.store(claimed, Write(claim, append=[row(claim)]), Event("mark", {}), urgent=False)
    setup.publish_text(claimed, "i", "last words")

    setup.journal.stop(5)

    assert stored.result(0) == "ok"
    assert setup.text() == "last words"
    assert setup.published("mark")


def test_many_turns_at_once_keep_their_own_order(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench()
    threads = [bench.thread() for _ in range(12)]
    for number, thread in enumerate(threads):
        bench.begin(thread, f"[[say n=40]][[run echo {number}]][[say end {number}]]")

    running = [bench.start_run() for _ in threads]
    for one in running:
        one.join()
    bench.settle()

    for number, thread in enumerate(threads):
        seen = order.check(bench.events(thread))
        assert list(seen.turns.values()) == ["completed"]
        assert bench.shown(thread)[-1]["text"] == f"end {number}"


def test_published_rows_are_marked(setup: JournalBench) -> None:
    claim, claimed, _ = setup.claim()
    item = make_message(setup.store, claim, "hi")

    setup.journal.publish(claimed, Event("item/completed", {}, key=f"item:{item.id}:completed"))

    until(lambda: setup.store.items.of_turn(claim.turn_id)[0].published_state == 2)


def test_marks_that_are_refused_are_tried_again_only_after_a_while(
    setup: JournalBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, claimed, _ = setup.claim()
    item = make_message(setup.store, claim, "hi")
    commit, refused_at = setup.store.commit, []

    def refuse(writes: Any, published: Published, **options: Any) -> Any:
        if published:
            refused_at.append(time.monotonic())
            raise ValueError("refused")
        return commit(writes, published, **options)

    monkeypatch.setattr(setup.store, "commit", refuse)
    setup.journal.publish(claimed, Event("item/completed", {}, key=f"item:{item.id}:completed"))

    until(lambda: len(refused_at) > 2)
    assert refused_at[2] - refused_at[0] >= 2 * MARK_SECONDS
    monkeypatch.undo()
    until(lambda: setup.store.items.of_turn(claim.turn_id)[0].published_state == 2)


def test_submitting_from_many_threads_loses_and_repeats_nothing(setup: JournalBench) -> None:
    """Threads of many turns submit while the writer works: none has to wait for it, and no entry is lost."""
    _, claimed, _ = setup.claim()
    setup.start_item(claimed, "i")

    def speak() -> None:
        for _ in range(500):
            setup.publish_text(claimed, "i", "x")

    speakers = [start(speak) for _ in range(4)]
    for speaker in speakers:
        speaker.join()

    until(lambda: len(setup.text()) == 2000)
