"""The event log: what it accepts, what it publishes, and what a follower gets from it."""

from __future__ import annotations

import fakeredis
import orjson
import pytest
from redis.client import PubSub

from shared.errors import InvalidParams
from shared.event_names import item_key, log_key, thread_channel, user_channel
from shared.events.log import (
    LOG_TTL_SECONDS,
    NO_EVENT,
    PAGE_BYTES,
    Event,
    EventLog,
    decode_entries,
    is_after,
    parse_cursor,
)
from shared.protocol.notifications import AGENT_DELTA, SUMMARY_DELTA, SUMMARY_PART
from tests.shared.events.conftest import MAX_BYTES, MAX_ENTRIES

THREAD, OWNER = "T", "ann"


def publish(log: EventLog, *events: Event, **batch: object) -> str:
    return log.publish([log.batch(THREAD, OWNER, events, **batch)])[0]  # type: ignore[arg-type]


def note(number: int) -> Event:
    return Event("note", {"threadId": THREAD, "number": number})


def started(item_id: str) -> Event:
    params = {"threadId": THREAD, "turnId": "U", "item": {"id": item_id}}
    return Event("item/started", params, key=item_key(item_id, "started"), item_id=item_id, role="start")


def completed(item_id: str) -> Event:
    return Event("item/completed", {}, key=item_key(item_id, "completed"), item_id=item_id, role="end")


def delta(item_id: str, text: str, stream: str = AGENT_DELTA) -> Event:
    method = stream.partition("#")[0]
    return Event(method, {"delta": text}, item_id=item_id, role="delta", stream=stream, text=text)


def methods(log: EventLog, after_id: str = NO_EVENT) -> list[str]:
    return [entry.method for entry in log.read(THREAD, after_id)]


def test_events_are_read_in_order_after_a_cursor(log: EventLog) -> None:
    publish(log, note(1), note(2))
    publish(log, note(3))

    first, second, third = log.read(THREAD, NO_EVENT)

    assert [orjson.loads(one.frame())["params"]["number"] for one in (first, second, third)] == [1, 2, 3]
    assert is_after(second.id, first.id)
    assert is_after(third.id, second.id)
    assert log.read(THREAD, first.id) == [second, third]
    assert log.read(THREAD, third.id) == []
    assert (log.count(THREAD), log.snapshot(THREAD).last_id) == (3, third.id)


def test_a_page_of_the_log_ends_once_it_has_its_bytes(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_max_bytes", 8 * PAGE_BYTES)
    large = [Event("note", {"text": "x" * (PAGE_BYTES * 2 // 5)}) for _ in range(7)]
    publish(log, *large)

    pages, after_id = [], NO_EVENT
    while page := log.read(THREAD, after_id):
        pages.append(len(page))
        after_id = page[-1].id

    assert pages == [3, 3, 1]


def test_a_frame_has_the_event_id_and_a_server_request_its_own_id(log: EventLog) -> None:
    publish(log, Event("item/x/requestApproval", {"a": 1}, request_id=7))

    [entry] = log.read(THREAD, NO_EVENT)

    assert orjson.loads(entry.frame()) == {
        "id": 7,
        "method": "item/x/requestApproval",
        "params": {"a": 1},
        "eventId": entry.id,
    }


def test_subscribers_get_what_is_appended_and_user_scope_goes_to_the_owner_too(
    redis: fakeredis.FakeRedis, log: EventLog
) -> None:
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(thread_channel(THREAD), user_channel(OWNER))
    publish(log, note(1), Event("thread/name/updated", {"threadId": THREAD, "name": "x"}))

    messages = {}
    while len(messages) < 2:
        if message := pubsub.get_message(timeout=5):
            messages[message["channel"].decode()] = decode_entries(message["data"])

    assert messages[thread_channel(THREAD)] == log.read(THREAD, NO_EVENT)
    assert [entry.method for entry in messages[user_channel(OWNER)]] == ["thread/name/updated"]


def test_a_durable_event_is_accepted_once(log: EventLog) -> None:
    publish(log, started("I"), completed("I"))
    publish(log, started("I"), completed("I"), note(1))

    assert methods(log) == ["item/started", "item/completed", "note"]


def test_a_repeated_batch_is_ignored(log: EventLog) -> None:
    batch = log.batch(THREAD, OWNER, [note(1)], number=5)

    assert log.publish([batch, batch]) == ["ok", "repeated"]
    assert publish(log, note(0), number=4) == "repeated"
    assert publish(log, note(2), number=6) == "ok"
    assert log.count(THREAD) == 2


def subscribe(redis: fakeredis.FakeRedis, channel: str) -> PubSub:
    """Return what is published in a channel from now on."""
    messages = redis.pubsub(ignore_subscribe_messages=True)
    messages.subscribe(channel)
    messages.get_message()
    return messages


def test_what_is_too_large_for_a_subscriber_is_announced_and_read_from_the_log(
    redis: fakeredis.FakeRedis, log: EventLog
) -> None:
    messages = subscribe(redis, thread_channel(THREAD))

    publish(log, *(Event("note", {"text": "x" * 30_000}) for _ in range(3)))
    publish(log, note(1))

    first, second = messages.get_message(), messages.get_message()
    assert first is not None
    assert second is not None
    assert decode_entries(first["data"]) == []
    assert len(decode_entries(second["data"])) == 1
    assert methods(log) == ["note"] * 4


def test_a_users_notifications_come_in_messages_that_a_subscriber_can_take(
    redis: fakeredis.FakeRedis, log: EventLog
) -> None:
    messages = subscribe(redis, user_channel(OWNER))
    name = {"threadId": THREAD, "threadName": "x" * 30_000}

    publish(log, *(Event("thread/name/updated", name) for _ in range(5)))

    sizes = []
    while message := messages.get_message():
        sizes.append((len(decode_entries(message["data"])), len(message["data"])))
    assert [count for count, _ in sizes] == [2, 2, 1]
    assert max(size for _, size in sizes) <= 65_536


@pytest.mark.parametrize("threads", [1, 3])
def test_a_redis_that_lost_its_scripts_gets_them_with_the_next_batches(
    redis: fakeredis.FakeRedis, log: EventLog, threads: int
) -> None:
    names = [f"T{number}" for number in range(threads)]
    batches = [log.batch(name, OWNER, [note(1)]) for name in names]
    assert log.publish(batches) == ["ok"] * threads

    redis.script_flush()

    assert log.publish(batches) == ["ok"] * threads
    assert [log.count(name) for name in names] == [2] * threads


def test_open_items_are_kept_with_their_text_until_they_end(log: EventLog) -> None:
    publish(log, started("I"), delta("I", "Hel"), delta("I", "lo"), started("J"))

    first, second = log.snapshot(THREAD).open_items
    assert (first.item_id, first.texts, second.texts) == ("I", {AGENT_DELTA: "Hello"}, {})
    publish(log, completed("I"))
    assert [item.item_id for item in log.snapshot(THREAD).open_items] == ["J"]
    publish(log, delta("I", "late"))
    assert "late" not in str(log.read(THREAD, NO_EVENT))


def test_an_item_that_begins_and_ends_in_one_batch_leaves_nothing_open(
    redis: fakeredis.FakeRedis, log: EventLog
) -> None:
    publish(log, started("I"), delta("I", "kept"))

    publish(log, started("J"), delta("J", "Hel"), delta("I", "!"), delta("J", "lo"), completed("J"), delta("J", "late"))

    [item] = log.snapshot(THREAD).open_items
    assert (item.item_id, item.texts) == ("I", {AGENT_DELTA: "kept!"})
    assert "late" not in str(log.read(THREAD, NO_EVENT))
    assert not redis.keys("*:text:J*")


def test_an_item_whose_start_the_log_has_forgotten_ends_with_a_batch_that_repeats_it(
    redis: fakeredis.FakeRedis, log: EventLog
) -> None:
    publish(log, started("I"), delta("I", "Hel"), started("J"))
    for first in range(0, 3 * MAX_ENTRIES, 50):
        publish(log, *[Event("note", {}, key=f"note-{number}") for number in range(first, first + 50)])

    publish(log, started("I"), completed("I"))

    assert [item.item_id for item in log.snapshot(THREAD).open_items] == ["J"]
    assert not redis.keys("*:text:I*")


def test_an_event_that_keeps_some_items_closes_those_of_its_own_batch_too(log: EventLog) -> None:
    publish(log, started("I"), delta("I", "a"), started("J"), delta("J", "b"), Event("", role="keep", text="I"))

    [item] = log.snapshot(THREAD).open_items
    assert (item.item_id, item.texts) == ("I", {AGENT_DELTA: "a"})


def test_an_event_that_keeps_some_items_closes_the_others(log: EventLog) -> None:
    publish(log, started("I"), started("J"), started("K"))

    publish(log, Event("", role="keep", text="J"))

    assert [item.item_id for item in log.snapshot(THREAD).open_items] == ["J"]
    assert methods(log) == ["item/started"] * 3


def test_an_open_item_is_replayed_as_its_start_and_one_delta_per_text(log: EventLog) -> None:
    publish(log, started("I"), delta("I", "a", f"{SUMMARY_DELTA}#1"), delta("I", "b", f"{SUMMARY_DELTA}#1"))

    [item] = log.snapshot(THREAD).open_items
    frames = [orjson.loads(head + b"}") for head in item.replay()]

    assert [frame["method"] for frame in frames] == ["item/started", SUMMARY_PART, SUMMARY_DELTA]
    where = {"threadId": THREAD, "turnId": "U", "itemId": "I", "summaryIndex": 1}
    assert [frame["params"] for frame in frames[1:]] == [where, {**where, "delta": "ab"}]


def test_a_trimmed_log_is_not_complete_after_an_old_cursor(log: EventLog) -> None:
    publish(log, note(0))
    old = log.snapshot(THREAD).last_id
    for number in range(3 * MAX_ENTRIES):
        publish(log, note(number))
    last = log.snapshot(THREAD).last_id
    recent = log.read(THREAD, NO_EVENT)[-2].id

    assert log.was_trimmed(THREAD, old)
    assert not log.was_trimmed(THREAD, recent)
    assert not log.is_complete_after(THREAD, old, last)
    assert not log.is_complete_after(THREAD, NO_EVENT, last)
    assert log.is_complete_after(THREAD, recent, last)
    assert log.is_complete_after(THREAD, last, last)


def test_a_log_is_trimmed_by_bytes_before_it_has_its_number_of_events(log: EventLog) -> None:
    text = "x" * (MAX_BYTES // 40)
    publish(log, note(0))
    old = log.snapshot(THREAD).last_id
    for _ in range(10):
        publish(log, *[Event("note", {"text": text})] * 5)

    kept = log.read(THREAD, NO_EVENT)

    assert MAX_BYTES * 3 / 4 < sum(len(entry.head) for entry in kept) < MAX_BYTES * 5 / 4
    assert log.was_trimmed(THREAD, old)
    assert not log.is_complete_after(THREAD, old, kept[-1].id)
    assert log.is_complete_after(THREAD, kept[0].id, kept[-1].id)


def test_an_event_larger_than_the_log_is_kept_until_later_ones_take_its_place(log: EventLog) -> None:
    publish(log, note(1), Event("large", {"text": "x" * 3 * MAX_BYTES}))
    assert methods(log)[-1] == "large"

    for _ in range(8):
        publish(log, Event("note", {"text": "x" * (MAX_BYTES // 8)}))

    assert set(methods(log)) == {"note"}


def test_a_lost_log_is_complete_after_no_earlier_cursor(redis: fakeredis.FakeRedis, log: EventLog) -> None:
    publish(log, note(1))
    before = log.snapshot(THREAD).last_id
    redis.flushall()
    assert not log.is_complete_after(THREAD, before, log.snapshot(THREAD).last_id)

    publish(log, note(2))

    last = log.snapshot(THREAD).last_id
    assert not log.is_complete_after(THREAD, before, last)
    assert log.is_complete_after(THREAD, NO_EVENT, last)
    assert not log.was_trimmed(THREAD, before)


def test_a_deleted_log_leaves_nothing(redis: fakeredis.FakeRedis, log: EventLog) -> None:
    publish(log, started("I"), delta("I", "text"))

    log.delete(THREAD)

    assert redis.keys("*") == []


def test_a_cursor_must_be_an_event_id() -> None:
    assert parse_cursor("1795345090002-0") == "1795345090002-0"
    with pytest.raises(InvalidParams, match="invalid event id: 'yesterday'"):
        parse_cursor("yesterday")


def test_all_parts_of_a_log_expire_at_the_same_moment(redis: fakeredis.FakeRedis, log: EventLog) -> None:
    batches = (
        [Event("", item_id="A", role="end")],
        [note(1)],
        [Event("turn/started", key="turn")],
        [started("A")],
        [delta("A", "x"), delta("A", "y", f"{SUMMARY_DELTA}#0")],
        [completed("A"), started("B")],
    )
    for events in batches:
        publish(log, *events)

        left_ms = [redis.pttl(key) for key in redis.scan_iter()]
        assert max(left_ms) - min(left_ms) < 500
        assert min(left_ms) > 0


def test_a_log_that_is_used_for_long_does_not_expire(redis: fakeredis.FakeRedis, log: EventLog) -> None:
    publish(log, started("A"), delta("A", "x"))
    soon_ms = int(log.snapshot(THREAD).last_id.partition("-")[0]) + 5000
    for key in redis.scan_iter():
        redis.pexpireat(key, soon_ms)
    redis.hset(log_key(THREAD, "meta"), "expires_ms", soon_ms)

    publish(log, note(2))

    keys = list(redis.scan_iter())
    assert len(keys) == 5
    assert all(redis.ttl(key) > LOG_TTL_SECONDS * 7 // 8 for key in keys)


def test_a_batch_of_many_events_is_accepted_once(redis: fakeredis.FakeRedis, log: EventLog) -> None:
    large = EventLog(redis, max_entries=10_000, max_bytes=1 << 30)
    begun = [started(f"{n}") for n in range(1500)]

    publish(large, *begun)
    publish(large, *begun)
    assert len(large.snapshot(THREAD).open_items) == 1500
    publish(large, *(completed(f"{n}") for n in range(1500)))

    assert large.count(THREAD) == 3000
    assert large.snapshot(THREAD).open_items == []


def test_an_item_in_the_background_outlives_its_turn_until_it_ends(log: EventLog) -> None:
    publish(log, started("A"), started("B"), started("C"), delta("A", "a"))
    publish(log, Event("", item_id="A", role="background"), Event("", item_id="B", role="background"))

    publish(log, Event("turn/completed", role="keep"), completed("B"))
    assert [item.item_id for item in log.snapshot(THREAD).open_items] == ["A"]
    publish(log, started("B"), delta("A", "b"), Event("turn/completed", role="keep"))

    [item] = log.snapshot(THREAD).open_items
    assert (item.item_id, item.texts) == ("A", {AGENT_DELTA: "ab"})
    publish(log, completed("A"), started("A"), Event("turn/completed", role="keep"))
    assert log.snapshot(THREAD).open_items == []


def test_an_item_that_ends_and_begins_again_in_one_batch_is_open_with_its_new_text(log: EventLog) -> None:
    begin, end = Event("x", item_id="A", role="start"), Event("x", item_id="A", role="end")
    publish(log, begin, delta("A", "old"))

    publish(log, end, begin)
    assert log.snapshot(THREAD).open_items[0].texts == {}
    publish(log, delta("A", "old"), end, begin, delta("A", "new"))

    [item] = log.snapshot(THREAD).open_items
    assert item.texts == {AGENT_DELTA: "new"}
