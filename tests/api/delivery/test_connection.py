"""One connection: what it sends, in which order, and what it reads from the log instead."""

from __future__ import annotations

import threading
from functools import partial

import fakeredis
import pytest

from api.access.caller import LOCAL, Caller
from api.delivery import outgoing
from api.delivery.close_codes import LOG_TRIMMED, NORMAL, TRY_AGAIN_LATER, Closed
from api.delivery.connection import PAGE_ENTRIES, Connection
from api.delivery.frames import Frame
from shared.errors import InvalidRequest
from shared.events.log import Event, EventLog
from shared.events.worker_calls import WorkerCall
from tests.support.wait import DEADLINE_SECONDS

THREAD = "thread"
AT_ONCE = 0.0  # seconds that dequeue waits


class Bench:
    """A connection that follows THREAD, and the log that it reads."""

    def __init__(self, max_entries: int = 10_000) -> None:
        self.log = EventLog(fakeredis.FakeRedis(), max_entries=max_entries, max_bytes=1 << 20)
        self.connection = Connection(Caller(LOCAL), self.log)
        self.connection.initialize("test", [])
        self.connection.follow(THREAD)

    def publish(self, *methods: str) -> list[Frame]:
        """Append events to the log; return them as the relay would deliver them."""
        last = self.log.snapshot(THREAD).last_id
        self.log.publish([self.log.batch(THREAD, "local", [Event(method) for method in methods])])
        return [Frame.of_entry(entry) for entry in self.log.read(THREAD, last)]

    def methods(self) -> list[str]:
        """Dequeue until nothing comes at once."""
        found: list[str] = []
        while frames := self.connection.dequeue(AT_ONCE):
            found += [frame.method for frame in frames]
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_delivered_events_are_dequeued_in_order_and_once(bench: Bench) -> None:
    frames = bench.publish("a", "b")
    bench.connection.deliver(THREAD, frames)
    bench.connection.deliver(THREAD, frames)

    assert bench.methods() == ["a", "b"]


def test_events_of_a_thread_that_is_not_followed_are_dropped(bench: Bench) -> None:
    bench.connection.deliver("another", bench.publish("a"))

    assert bench.methods() == []


def test_notifications_that_the_client_opted_out_of_are_dropped(bench: Bench) -> None:
    bench.connection.initialize("test", ["a"])
    bench.connection.deliver(THREAD, bench.publish("a", "b"))

    assert bench.methods() == ["b"]


def test_a_reply_is_sent_before_events_that_came_during_the_request(bench: Bench) -> None:
    bench.connection.pause(THREAD)
    bench.connection.deliver(THREAD, bench.publish("event"))
    assert bench.methods() == []

    bench.connection.send([Frame(b"{}", "reply")])
    bench.connection.unpause(THREAD)

    assert bench.methods() == ["reply", "event"]


def test_a_thread_stays_paused_until_every_request_has_its_reply(bench: Bench) -> None:
    bench.connection.pause(THREAD)
    bench.connection.pause(THREAD)
    bench.connection.deliver(THREAD, bench.publish("event"))

    bench.connection.unpause(THREAD)
    assert bench.methods() == []

    bench.connection.unpause(THREAD)
    assert bench.methods() == ["event"]


def test_a_request_that_begins_while_the_log_is_read_gets_its_reply_first(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.publish("event")
    bench.connection.mark_lagging(THREAD)
    read = bench.log.read

    def read_while_a_request_begins(*args: object) -> object:
        bench.connection.pause(THREAD)
        return read(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.log, "read", read_while_a_request_begins)
    assert bench.connection.dequeue(AT_ONCE) == []
    monkeypatch.setattr(bench.log, "read", read)

    bench.connection.send([Frame(b"{}", "reply")])
    bench.connection.unpause(THREAD)

    assert bench.methods() == ["reply", "event"]


def test_a_full_queue_leaves_events_to_the_log_and_loses_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "MAX_QUEUED_FRAMES", 2)
    for number in range(5):
        bench.connection.deliver(THREAD, bench.publish(str(number)))

    assert [frame.method for frame in bench.connection.dequeue(AT_ONCE)] == ["0", "1"]
    assert bench.methods() == ["2", "3", "4"]


def test_a_lagging_connection_reads_the_log_page_by_page(bench: Bench) -> None:
    wanted = [str(number) for number in range(PAGE_ENTRIES + 1)]
    bench.publish(*wanted)
    bench.connection.mark_lagging(THREAD)

    assert len(bench.connection.dequeue(AT_ONCE)) == PAGE_ENTRIES
    assert bench.methods() == wanted[PAGE_ENTRIES:]


def test_a_log_that_cannot_be_read_is_read_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.publish("event")
    bench.connection.mark_lagging(THREAD)

    with monkeypatch.context() as broken:
        broken.setattr(bench.log, "read", lambda *_: (_ for _ in ()).throw(ConnectionError))
        with pytest.raises(ConnectionError):
            bench.connection.dequeue(AT_ONCE)

    assert bench.methods() == ["event"]


def test_a_connection_whose_next_event_was_trimmed_is_closed() -> None:
    bench = Bench(max_entries=10)
    bench.connection.deliver(THREAD, bench.publish("first"))
    bench.methods()
    bench.publish(*map(str, range(1000)))  # Redis trims whole nodes of the stream
    bench.connection.mark_lagging(THREAD)

    with pytest.raises(Closed) as closed:
        bench.methods()

    assert closed.value.code == LOG_TRIMMED


def test_send_waits_while_the_queue_is_full(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "MAX_QUEUED_BYTES", 1)
    bench.connection.send([Frame(b"{}", "first")])
    sender = threading.Thread(target=bench.connection.send, args=([Frame(b"{}", "second")],))
    sender.start()
    sender.join(0.05)
    assert sender.is_alive()

    assert [frame.method for frame in bench.connection.dequeue(AT_ONCE)] == ["first"]
    sender.join(DEADLINE_SECONDS)

    assert bench.methods() == ["second"]


def test_frames_have_been_sent_when_the_next_are_dequeued_or_the_connection_is_over(bench: Bench) -> None:
    sent: list[str] = []
    for name in ("first", "second"):
        bench.connection.send([Frame(b"{}", name)], partial(sent.append, name))
        bench.connection.dequeue(AT_ONCE)
    assert sent == ["first"]

    bench.connection.send([Frame(b"{}")], partial(sent.append, "queued"))
    bench.connection.close(NORMAL, "over")
    with pytest.raises(Closed):
        bench.connection.send([Frame(b"{}")], partial(sent.append, "never"))
    bench.connection.discard()
    bench.connection.discard()

    assert sent == ["first", "never", "second", "queued"]


def test_user_notifications_reach_only_connections_that_do_not_follow_the_thread(bench: Bench) -> None:
    bench.connection.deliver_to_user(THREAD, Frame(b"{}", "thread/name/updated"))
    bench.connection.deliver_to_user("another", Frame(b"{}", "thread/archived"))

    assert bench.methods() == ["thread/archived"]


def test_a_full_queue_keeps_the_newest_user_notification_per_thread_and_method(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "MAX_QUEUED_FRAMES", 0)
    for name in (b"old", b"new"):
        bench.connection.deliver_to_user("another", Frame(name, "thread/name/updated"))
    bench.connection.deliver_to_user("third", Frame(b"third", "thread/name/updated"))

    assert [frame.data for frame in bench.connection.dequeue(AT_ONCE)] == [b"new", b"third"]


def test_a_client_that_reads_none_of_too_many_user_notifications_is_closed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "MAX_QUEUED_FRAMES", 1)
    monkeypatch.setattr(outgoing, "MAX_LATEST_BYTES", 20)
    frame = Frame(b"0123456789", "thread/status/changed")
    bench.connection.deliver(THREAD, bench.publish("delta"))
    for thread_id in ("a", "b", "b", "a"):
        bench.connection.deliver_to_user(thread_id, frame)
    assert not bench.connection.is_closed

    for number in range(100):
        bench.connection.deliver_to_user(f"another {number}", frame)

    assert len(bench.connection._outgoing) == 4
    bench.connection.dequeue(AT_ONCE)
    with pytest.raises(Closed, match="too slow") as closed:
        bench.connection.dequeue(AT_ONCE)
    assert closed.value.code == TRY_AGAIN_LATER


def test_queued_frames_are_still_sent_after_close(bench: Bench) -> None:
    bench.connection.send([Frame(b"{}", "last")])
    bench.connection.close(NORMAL, "over")
    bench.connection.close(LOG_TRIMMED, "later")

    assert [frame.method for frame in bench.connection.dequeue(AT_ONCE)] == ["last"]
    with pytest.raises(Closed) as closed:
        bench.connection.dequeue(AT_ONCE)
    assert (closed.value.code, closed.value.reason) == (NORMAL, "over")
    with pytest.raises(Closed):
        bench.connection.send([Frame(b"{}")])


def test_events_that_a_reply_includes_are_not_delivered_again(bench: Bench) -> None:
    events = [Event("item/completed", key="item:i:completed", item_id="i"), Event("turn/started", key="turn:t:started")]
    bench.log.publish([bench.log.batch(THREAD, "local", [*events, Event("new")])])
    bench.connection.mark_delivered(THREAD, keys=["turn:t:started"], items=["i"], open_turn="t")
    bench.connection.mark_lagging(THREAD)

    assert bench.methods() == ["new"]
    assert bench.connection.open_turn(THREAD) == "t"


class FakeCall(WorkerCall):
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


def test_closing_cancels_worker_calls_and_refuses_new_ones(bench: Bench) -> None:
    call = FakeCall()
    bench.connection.calls.add("name", call)

    bench.connection.close(NORMAL, "over")

    assert call.cancelled
    with pytest.raises(Closed):
        bench.connection.calls.add("other", FakeCall())


def test_the_name_of_a_worker_call_is_unique_while_it_runs(bench: Bench) -> None:
    calls, first, second = bench.connection.calls, FakeCall(), FakeCall()
    calls.add("name", first)
    with pytest.raises(InvalidRequest, match="duplicate active name"):
        calls.add("name", second)

    calls.cancel("name")
    calls.add("name", second)
    calls.remove("name", first)

    assert first.cancelled
    assert calls.find("name") is second


def test_a_connection_is_closed_from_its_first_close_on_and_keeps_that_reason(bench: Bench) -> None:
    assert not bench.connection.is_closed

    bench.connection.close(NORMAL, "done")
    bench.connection.close(LOG_TRIMMED, "later")

    assert bench.connection.is_closed
    with pytest.raises(Closed) as closed:
        bench.connection.dequeue(AT_ONCE)
    assert (closed.value.code, closed.value.reason) == (NORMAL, "done")
