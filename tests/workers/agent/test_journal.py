"""The journal: what is stored is said, in order and whole, whatever Redis or the database do meanwhile."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from shared.clock import now_ms
from shared.errors import ClaimLost
from shared.events import NO_EVENT, Batch, Event, EventLog
from shared.store.turns import Claim
from shared.store.writes import Write
from tests.builders import delta, make_message
from tests.shared.store.records import row
from tests.support import order
from tests.support.wait import until
from tests.workers.builders import Bench, Unreliable, read_entries, start
from workers.agent.journal import Held, Journal
from workers.agent.signal import Signal, Why


class Outage(EventLog):
    """A log whose Redis can be out of reach. lossy: batches arrive, and only the answer is lost."""

    away = False
    lossy = False

    def publish(self, batches: Sequence[Batch]) -> list[str]:
        if self.away:
            raise redis.ConnectionError("away")
        answers = super().publish(batches)
        if self.lossy:
            self.lossy = False
            raise redis.TimeoutError("no answer")
        return answers


class Desk:
    """A journal of its own over a bench's store and Redis, and a claimed turn."""

    def __init__(self, bench: Bench, **seconds: float) -> None:
        self.bench = bench
        self.store = bench.workers[0].store
        self.log = Outage(bench.connect(), max_entries=10_000)
        times = {"lease_seconds": 30.0, "renewal_seconds": 10.0, "authority_seconds": 25.0} | seconds
        self.lease_ms = round(times["lease_seconds"] * 1000)
        self.journal = Journal(self.store, self.log, **times)
        self.journal.start()
        self.thread = bench.thread()
        self.numbers = itertools.count(1)

    def hold(self) -> tuple[Claim, Held, Signal]:
        self.bench.begin(self.thread, "hello")
        claimed_at = time.monotonic()
        claim = self.store.turns.claim("desk", lease_ms=self.lease_ms, turns_at_once=0)
        assert claim is not None
        signal = Signal()
        return claim, self.journal.hold(claim, signal, claimed_at), signal

    def opened(self, held: Held, item_id: str) -> None:
        params = {"threadId": held.claim.thread_id, "turnId": held.claim.turn_id, "item": {"id": item_id}}
        started = Event("item/started", params, key=f"item:{item_id}:started", item_id=item_id, role="start")
        self.journal.say(held, started, urgent=True)

    def say(self, held: Held, item_id: str, text: str) -> None:
        self.journal.say(held, delta(held.claim.thread_id, item_id, text))

    def said(self, method: str = "item/agentMessage/delta") -> list[dict[str, Any]]:
        entries = self.log.read(self.thread.id, NO_EVENT, 100_000)
        return [params for name, params in read_entries(entries) if name == method]

    def text(self) -> str:
        return "".join(params["delta"] for params in self.said())


@pytest.fixture
def desk(bench: Bench) -> Any:
    made = Desk(bench)
    yield made
    made.journal.stop(5)


def test_deltas_are_joined_and_no_text_is_dropped(desk: Desk) -> None:
    _, held, _ = desk.hold()
    desk.opened(held, "i")
    words = [f"w{number} " for number in range(3000)]

    for word in words:
        desk.say(held, "i", word)

    until(lambda: desk.text() == "".join(words))
    assert len(desk.said()) < 300


def test_deltas_of_two_streams_are_not_mixed(desk: Desk) -> None:
    _, held, _ = desk.hold()
    desk.opened(held, "a")
    desk.opened(held, "b")

    for word in ("a1 ", "b1 ", "b2 ", "a2 ", "a3 "):
        desk.say(held, word[0], word)
    desk.journal.say(held, Event("mark", {}), urgent=True)

    until(lambda: desk.said("mark"))
    told = [(params["itemId"], params["delta"]) for params in desk.said()]
    assert "".join(text for _, text in told) == "a1 b1 b2 a2 a3 "
    assert all(text.startswith(item_id) for item_id, text in told)
    texts = {item.item_id: item.texts for item in desk.log.snapshot(desk.thread.id).open_items}
    assert texts == {"a": {"item/agentMessage/delta": "a1 a2 a3 "}, "b": {"item/agentMessage/delta": "b1 b2 "}}


def test_rows_are_stored_before_they_are_told(desk: Desk) -> None:
    claim, held, _ = desk.hold()
    desk.log.away = True

    assert desk.journal.store(held, Write(claim, append=[row(claim)]), Event("mark", {})).result(10) == "ok"

    assert len(desk.store.items.of_turn(claim.turn_id)) == 1
    assert desk.said("mark") == []
    desk.log.away = False
    until(lambda: desk.said("mark"))


def test_while_redis_is_away_everything_is_stored_and_told_later_in_order_and_whole(bench: Bench) -> None:
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


def test_an_end_that_the_sweep_told_first_is_not_followed_by_what_was_kept_back(bench: Bench) -> None:
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
    told = bench.events(thread)
    client.away = False
    bench.say(thread, "next")

    assert order.check(told, lost=True).turns == {turn.id: "completed"}
    assert bench.events(thread)[: len(told)] == told
    assert len(order.check(bench.events(thread), lost=True).turns) == 2


def test_a_batch_whose_answer_was_lost_is_not_told_twice(desk: Desk) -> None:
    _, held, _ = desk.hold()
    desk.opened(held, "i")
    until(lambda: desk.said("item/started"))
    desk.log.lossy = True

    desk.journal.say(held, delta(desk.thread.id, "i", "once "), urgent=True)
    until(lambda: not desk.log.lossy)
    desk.journal.say(held, delta(desk.thread.id, "i", "more "), urgent=True)

    until(lambda: "more " in desk.text())
    assert desk.text() == "once more "


def test_a_log_that_was_lost_in_mid_turn_is_filled_again(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, "[[run echo ran]][[say one two ]][[pause p]][[say three four]]")
    running = bench.start_run()
    bench.model.wait_reached("p")
    until(lambda: "two" in str(bench.events(thread)))

    bench.connect().flushall()
    name = Event("thread/name/updated", {"threadId": thread.id, "threadName": "n"})
    log = bench.workers[0].log
    log.publish([log.batch(thread.id, thread.owner, [name])])  # somebody else writes first: a log is there again
    bench.model.release("p")
    running.join()
    bench.settle()

    events = [event for event in bench.events(thread) if not event[0].startswith("thread/name")]
    told = order.methods(events)
    assert told.count("turn/started") == told.count("turn/completed") == 1
    completed = [params["item"]["id"] for method, params in events if method == "item/completed"]
    assert completed == [item["id"] for item in bench.shown(thread)]
    assert bench.turn(turn).status == "completed"
    assert bench.workers[0].log.snapshot(thread.id).open_items == []


def test_who_comes_after_a_loss_sees_the_open_items_with_all_their_text(bench: Bench) -> None:
    thread = bench.thread()
    bench.begin(thread, "[[say one two ]][[pause p]][[say three ]][[pause q]][[say four]]")
    running = bench.start_run()
    bench.model.wait_reached("p")
    until(lambda: "two" in str(bench.events(thread)))

    bench.connect().flushall()
    bench.model.release("p")
    bench.model.wait_reached("q")

    def text() -> str:
        return "".join(t for item in bench.workers[0].log.snapshot(thread.id).open_items for t in item.texts.values())

    until(lambda: text() == "one two three ")
    bench.model.release("q")
    running.join()


def test_a_write_that_cannot_be_stored_fails_its_turn_and_no_other(desk: Desk) -> None:
    claim, held, _ = desk.hold()
    other = Desk(desk.bench)
    other.journal = desk.journal
    claim2, held2, _ = other.hold()

    bad = desk.journal.store(held, Write(claim, append=[row(claim, item={"text": "\ud800"})]), Event("bad", {}))
    good = desk.journal.store(held2, Write(claim2, append=[row(claim2)]), Event("good", {}))

    assert good.result(10) == "ok"
    with pytest.raises(Exception, match=r"surrogates|UTF-8"):
        bad.result(10)
    until(lambda: other.said("good"))
    assert desk.said("bad") == []
    after = desk.journal.store(held, Write(claim, append=[row(claim)]), Event("after", {}))
    assert after.result(10) == "ok"


def test_an_event_that_is_no_json_loses_its_turn_and_no_other(desk: Desk) -> None:
    _, held, signal = desk.hold()
    other = Desk(desk.bench)
    other.journal = desk.journal
    _, held2, signal2 = other.hold()

    desk.journal.say(held, Event("bad", {"text": "\ud800"}), urgent=True)
    other.journal.say(held2, Event("good", {}), urgent=True)

    until(lambda: Why.LOST in signal)
    until(lambda: other.said("good"))
    assert Why.LOST not in signal2


def test_a_database_that_does_not_answer_for_a_while_loses_nothing(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    claim, held, _ = desk.hold()
    with desk.store.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE items RENAME TO gone")

    stored = desk.journal.store(held, Write(claim, append=[row(claim)]), Event("mark", {}))
    until(lambda: "the database does not answer" in caplog.text)
    with desk.store.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO items")

    assert stored.result(10) == "ok"
    until(lambda: desk.said("mark"))


def test_authority_ends_by_the_clock_when_nothing_can_be_renewed(bench: Bench) -> None:
    desk = Desk(bench, lease_seconds=1.0, renewal_seconds=0.2, authority_seconds=0.6)
    claim, held, signal = desk.hold()
    block = desk.store.database.engine.connect().execution_options(begin="BEGIN IMMEDIATE")
    block.exec_driver_sql("SELECT 1")
    stored = desk.journal.store(held, Write(claim, append=[row(claim)]), Event("mark", {}))

    until(lambda: Why.LOST in signal, seconds=3)

    with pytest.raises(ClaimLost):
        stored.result(1)  # the turn does not wait for the database
    with pytest.raises(ClaimLost):
        desk.journal.store(held, Write(claim)).result(1)
    block.rollback()
    block.close()
    desk.journal.say(held, Event("late", {}), urgent=True)
    desk.journal.stop(5)
    assert desk.said("late") == desk.said("mark") == []


def test_a_claim_that_is_renewed_holds(bench: Bench) -> None:
    desk = Desk(bench, lease_seconds=0.6, renewal_seconds=0.1, authority_seconds=0.5)
    claim, _, signal = desk.hold()
    until_ms = now_ms() + 900

    until(lambda: now_ms() > until_ms)

    assert desk.store.turns.all_users_recover(max_lost=3) == ([], [])
    assert Why.LOST not in signal
    assert desk.store.turns.renew([claim], lease_ms=1000) == {claim.turn_id}
    desk.journal.stop(5)


def test_a_turn_that_this_process_claims_again_is_lost_to_its_attempt_before(desk: Desk) -> None:
    claim, held, signal = desk.hold()
    desk.bench.lose(desk.bench.turn(claim.turn), desk.bench.workers[0])
    again = desk.store.turns.claim("desk", lease_ms=desk.lease_ms, turns_at_once=0)
    assert again is not None

    held_again = desk.journal.hold(again, Signal(), time.monotonic())

    assert Why.LOST in signal
    with pytest.raises(ClaimLost):
        desk.journal.store(held, Write(claim, append=[row(claim)])).result(10)
    assert desk.journal.store(held_again, Write(again, append=[row(again)])).result(10) == "ok"


def test_a_claim_that_another_worker_took_is_noticed_at_the_next_renewal(bench: Bench) -> None:
    desk = Desk(bench, lease_seconds=30.0, renewal_seconds=0.1, authority_seconds=25.0)
    claim, _, signal = desk.hold()

    bench.lose(bench.turn(claim.turn), bench.workers[0])

    until(lambda: Why.LOST in signal)
    desk.journal.stop(5)


def test_a_listener_that_fails_does_not_stop_the_journal(desk: Desk) -> None:
    claim, held, signal = desk.hold()
    other = Desk(desk.bench)
    other.journal = desk.journal
    claim2, held2, _ = other.hold()
    bench = desk.bench

    def fail(_: Why) -> None:
        raise RuntimeError("a listener failed")

    with signal.heard_by(fail):
        bench.lose(bench.turn(claim.turn), bench.workers[0])
        with pytest.raises(ClaimLost):
            desk.journal.store(held, Write(claim, append=[row(claim)])).result(10)

    assert desk.journal.store(held2, Write(claim2, append=[row(claim2)])).result(10) == "ok"


def test_what_is_left_when_a_process_stops_is_stored_and_told(desk: Desk) -> None:
    claim, held, _ = desk.hold()
    desk.opened(held, "i")
    stored = desk.journal.store(held, Write(claim, append=[row(claim)]), Event("mark", {}), urgent=False)
    desk.say(held, "i", "last words")

    desk.journal.stop(5)

    assert stored.result(0) == "ok"
    assert desk.text() == "last words"
    assert desk.said("mark")


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


def test_published_rows_are_marked_so(desk: Desk) -> None:
    claim, held, _ = desk.hold()
    item = make_message(desk.store, claim, "hi")

    desk.journal.say(held, Event("item/completed", {}, key=f"item:{item.id}:completed"))

    until(lambda: desk.store.items.of_turn(claim.turn_id)[0].announced == 2)


def test_joining_waits_for_nobody(desk: Desk) -> None:
    """Many turns' threads hand in while the writer works: none is held up, none is forgotten."""
    _, held, _ = desk.hold()
    desk.opened(held, "i")

    def speak() -> None:
        for _ in range(500):
            desk.say(held, "i", "x")

    speakers = [start(speak) for _ in range(4)]
    for speaker in speakers:
        speaker.join()

    until(lambda: len(desk.text()) == 2000)
