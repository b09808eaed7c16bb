"""Durable events are built from the store, and publish_missing publishes those that the log lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fakeredis
import orjson
import pytest

from shared.events import durable_events
from shared.events.fencing import FencingToken
from shared.events.log import NO_EVENT, EventLog
from shared.protocol.notifications import AGENT_DELTA, REASONING_DELTA, SUMMARY_DELTA, SUMMARY_PART
from shared.store import Store
from shared.store.audit import AuditEntry
from shared.store.threads import Thread
from tests.builders import claim_turn, delta, end_turn, make_config, make_message, make_thread, make_turn

STARTED = ["thread/status/changed", "turn/started"]
ENDED = ["thread/status/changed", "turn/completed"]
OPERATOR = AuditEntry.of_operator("test")
MESSAGE = ["item/started", AGENT_DELTA, "item/completed"]


@pytest.fixture
def thread(store: Store, tmp_path: Path) -> Thread:
    return make_thread(store, make_config(tmp_path))


def methods(log: EventLog, thread: Thread) -> list[str]:
    return [entry.method for entry in log.read(thread.id, NO_EVENT)]


def test_everything_of_an_ended_turn_is_published_once(store: Store, log: EventLog, thread: Thread) -> None:
    make_turn(store, thread)
    claim = claim_turn(store)
    make_message(store, claim, "Hello.")
    turn = end_turn(store, claim)

    for _ in range(2):
        durable_events.publish_missing(store, log, turn)

    assert methods(log, thread) == [*STARTED, *MESSAGE, *ENDED]
    assert store.turns.get(turn.id, turn.owner).published_state == durable_events.PUBLISHED_ENDED
    assert {row.published_state for row in store.items.of_turn(turn.id)} == {durable_events.PUBLISHED_ENDED}


def test_a_thread_waits_for_nobody_once_the_last_request_is_answered(
    store: Store, log: EventLog, thread: Thread
) -> None:
    make_turn(store, thread)
    claim = claim_turn(store)
    params = {"threadId": thread.id, "turnId": claim.turn_id, "itemId": "i", "startedAtMs": 1}
    method = "item/commandExecution/requestApproval"
    approval = store.claims.park(claim, method, "i", params, [], expires_in_ms=60_000)
    assert approval is not None
    waits = store.turns.get(claim.turn_id, thread.owner)
    durable_events.publish_missing(store, log, waits)
    answered = store.turns.answer(approval.id, thread.owner, {"decision": "accept"}, audit_entry=OPERATOR)
    assert answered is not None

    for _ in range(2):
        durable_events.publish_missing(store, log, answered)

    asked = ["thread/status/changed", method]
    assert methods(log, thread) == [*STARTED, *asked, "serverRequest/resolved", "thread/status/changed"]
    status = orjson.loads(log.read(thread.id, NO_EVENT)[-1].head + b"}")["params"]["status"]
    assert status == {"type": "active", "activeFlags": []}


def test_the_end_of_a_turn_has_its_last_message(store: Store, log: EventLog, thread: Thread) -> None:
    make_turn(store, thread)
    claim = claim_turn(store)
    first, last = make_message(store, claim, "First."), make_message(store, claim, "Last.")
    turn = end_turn(store, claim)
    unfinished = replace(last, id="unfinished", completed_at_ms=None)
    command = replace(last, id="command", kind="commandExecution")

    durable_events.publish_missing(store, log, turn)

    ended = orjson.loads(log.read(thread.id, NO_EVENT)[-1].head + b"}")["params"]["turn"]
    assert [item["text"] for item in ended["items"]] == ["Last."]
    assert durable_events.final_message([first, last, unfinished, command]) is last
    assert durable_events.final_message([unfinished, command]) is None


def test_only_the_part_of_a_text_that_the_log_lacks_is_published(store: Store, log: EventLog, thread: Thread) -> None:
    make_turn(store, thread)
    claim = claim_turn(store)
    message = make_message(store, claim, "Hello.")
    published = [durable_events.item_started(message), delta(thread.id, message.id, "Hel")]
    log.publish([log.batch(thread.id, thread.owner, published, token=FencingToken.of_worker(claim.claim_no))])

    durable_events.publish_missing(store, log, end_turn(store, claim))

    deltas = [entry.frame() for entry in log.read(thread.id, NO_EVENT) if entry.method == AGENT_DELTA]
    assert [b'"delta":"Hel"' in frame for frame in deltas] == [True, False]
    assert b'"delta":"lo."' in deltas[1]
    assert methods(log, thread).count("item/started") == 1


def test_each_part_of_reasoning_that_the_log_lacks_is_published(store: Store, thread: Thread) -> None:
    make_turn(store, thread)
    claim = claim_turn(store)
    shown = {"summary": ["One.", "Two."], "content": ["Raw."]}
    item = replace(make_message(store, claim, ""), kind="reasoning", item=shown, published_state=0)
    logged = {f"{SUMMARY_DELTA}#0": "On", f"{REASONING_DELTA}#0": "Other"}

    events = durable_events.item_events([item], {item.id: logged})

    assert [(event.method, event.params.get("summaryIndex"), event.params.get("delta")) for event in events[1:-1]] == [
        (SUMMARY_DELTA, 0, "e."),
        (SUMMARY_PART, 1, None),
        (SUMMARY_DELTA, 1, "Two."),
    ]
    lacking = durable_events.item_events([item], {})[-2]
    assert (lacking.method, lacking.params["contentIndex"], lacking.text) == (REASONING_DELTA, 0, "Raw.")
    assert len(durable_events.item_events([item])) == 2


def test_a_lost_log_is_filled_again(store: Store, log: EventLog, thread: Thread, redis: fakeredis.FakeRedis) -> None:
    make_turn(store, thread)
    claim = claim_turn(store)
    make_message(store, claim, "Hello.", completed=False)
    durable_events.publish_missing(store, log, claim.turn)
    redis.flushall()

    durable_events.publish_missing(store, log, claim.turn)

    assert methods(log, thread) == [*STARTED, "item/started"]
    assert [item.texts for item in log.snapshot(thread.id).open_items] == [{}]


def test_the_end_of_a_turn_is_published_without_status_while_the_next_turn_runs(
    store: Store, log: EventLog, thread: Thread
) -> None:
    make_turn(store, thread)
    ended = end_turn(store, claim_turn(store))
    make_turn(store, thread, "more")
    running = claim_turn(store)
    token = FencingToken.of_worker(running.claim_no)
    log.publish([log.batch(thread.id, thread.owner, durable_events.turn_started(running.turn), token=token)])

    durable_events.publish_missing(store, log, ended)

    assert methods(log, thread) == [*STARTED, "turn/started", "turn/completed"]


def test_a_turn_that_was_claimed_again_is_left_to_its_worker(store: Store, log: EventLog, thread: Thread) -> None:
    make_turn(store, thread)
    claim = claim_turn(store)
    newer = FencingToken.of_worker(claim.claim_no + 1)
    log.publish([log.batch(thread.id, thread.owner, [], token=newer)])

    durable_events.publish_missing(store, log, claim.turn)

    assert methods(log, thread) == []


def test_an_item_that_has_ended_meanwhile_starts_in_progress(store: Store, thread: Thread) -> None:
    make_turn(store, thread)
    message = make_message(store, claim_turn(store), "Hello.")

    started = durable_events.item_started(message)

    assert isinstance(started.params["item"], dict)
    assert (started.params["item"]["text"], started.params["item"]["completedAtMs"]) == ("", None)
