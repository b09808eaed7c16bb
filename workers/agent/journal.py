"""The one writer of a worker process: rows and events of all its turns, rows first, grouped.

A turn hands over what it stores and what it says, in order. The journal commits the rows of the last few milliseconds
in one transaction, then publishes in one pipeline. It renews the leases too, and tells a turn that it lost its claim.

Deltas are joined: at most one publication of an item in FLUSH_SECONDS, and text is never dropped. While Redis is away
rows go on being stored and events wait here; what the log lost meanwhile is filled in again from the store.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace

import redis
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from shared import announcements
from shared.errors import ClaimLost, NotFound
from shared.events import Batch, Event, EventLog
from shared.protocol.notifications import DELTAS
from shared.store import Store
from shared.store.turns import Claim
from shared.store.writes import Announced, Write
from workers.agent import faults
from workers.agent.signal import Signal, Why

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.010  # between two publications of one item's deltas
MARK_SECONDS = 0.2  # how long "announced" waits for a commit that has rows too
RETRY_SECONDS = 0.5  # after an error of Redis or the database
WATCH_SECONDS = 0.5  # how often authority is looked at; more often when leases are short


@dataclass(frozen=True, slots=True)
class Said:
    """What a turn handed over in one go: rows, then the events that tell of them."""

    write: Write | None
    events: Sequence[Event]
    stored: Future[str] | None


@dataclass(slots=True, eq=False)
class Held:
    """One turn that this process runs.

    renewed_at:  monotonic seconds at which the last renewal that succeeded was sent
    expects_log: whether something of this turn was published, so that an empty log is a lost one
    open_items:  items that are not rows yet: item/started, and the texts so far by stream
    leaving:     the turn is being let go: its lease is nobody's business any more
    """

    claim: Claim
    signal: Signal
    renewed_at: float
    expects_log: bool
    inbox: list[Said] = field(default_factory=list)
    outbox: list[Event] = field(default_factory=list)
    open_items: dict[str, tuple[Event, dict[str, list[str]]]] = field(default_factory=dict)
    urgent: bool = False
    leaving: bool = False
    lost: bool = False


class Journal:
    """Started once a process. All methods may be called from any thread."""

    def __init__(
        self, store: Store, log: EventLog, *, lease_seconds: float, renewal_seconds: float, authority_seconds: float
    ) -> None:
        self._store = store
        self._log = log
        self._numbers = itertools.count(1)
        self._lease_ms = round(lease_seconds * 1000)
        self._renewal_seconds = renewal_seconds
        self._authority_seconds = authority_seconds
        self._watch_seconds = min(WATCH_SECONDS, (lease_seconds - authority_seconds) / 2)
        self._wake = threading.Condition()
        self._held: dict[str, Held] = {}
        self._dirty: dict[Held, None] = {}  # those with an inbox
        self._speaking: dict[Held, None] = {}  # those with an outbox
        self._storing: list[tuple[Held, Said]] = []  # what is being committed, or was the last time
        self._uncommitted: list[tuple[Held, Said]] = []  # the database did not answer
        self._unsent: list[tuple[Held, Batch]] = []  # Redis did not answer
        self._announced = Announced()
        self._flushed_at = 0.0
        self._marked_at = 0.0
        self._renewed_at = time.monotonic()
        self._database_at = 0.0  # when to try again
        self._redis_at = 0.0
        self._stopping = False
        self._writer = threading.Thread(target=self._run, name="journal", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="journal-watch", daemon=True)

    def start(self) -> None:
        self._writer.start()
        self._watcher.start()

    def stop(self, timeout_seconds: float) -> None:
        """Store and publish what is left, then end."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        self._writer.join(timeout_seconds)

    def hold(self, claim: Claim, signal: Signal, claimed_at: float) -> Held:
        """Begin to write for a turn. claimed_at: monotonic seconds just before the claim was asked for."""
        held = Held(claim, signal, claimed_at, expects_log=claim.turn.announced > 0)
        with self._wake:
            before = self._held.get(claim.turn_id)
        if before is not None:
            self._lose(before)  # this process let its lease run out and claimed the turn again
        with self._wake:
            self._held[claim.turn_id] = held
        return held

    def leave(self, held: Held) -> None:
        """The turn is about to be parked or handed over: from now on its lease may go."""
        held.leaving = True

    def release(self, held: Held) -> None:
        """The turn has left this worker. What it said is still published."""
        with self._wake:
            held.leaving = True
            if self._held.get(held.claim.turn_id) is held:
                del self._held[held.claim.turn_id]

    def say(self, held: Held, *events: Event, urgent: bool = False) -> None:
        """Publish, behind all that the turn stored and said before."""
        self._hand_in(held, Said(None, events, None), urgent)

    def store(self, held: Held, write: Write, *events: Event, urgent: bool = True) -> Future[str]:
        """Store, then publish. urgent: at once, not with the next tick.

        The result is "ok", or "unread" when Write.end was refused. Errors: ClaimLost; nothing was stored
        """
        stored: Future[str] = Future()
        self._hand_in(held, Said(write, events, stored), urgent)
        return stored

    def told_texts(self, held: Held) -> dict[str, dict[str, str]] | None:
        """Of the thread's open items, what the log has: item id → stream → text. None: Redis does not answer."""
        try:
            snapshot = self._log.snapshot(held.claim.thread_id)
        except redis.RedisError:
            return None
        return {one.item_id: one.texts for one in snapshot.open_items}

    def _hand_in(self, held: Held, said: Said, urgent: bool) -> None:
        with self._wake:
            if not held.lost:
                held.inbox.append(said)
                held.urgent = held.urgent or urgent
                was_idle = not self._dirty
                self._dirty[held] = None
                if urgent or was_idle:
                    self._wake.notify_all()
                return
        _fail([said])

    # -- the writer's thread

    def _run(self) -> None:
        while self._wait():
            try:
                self._renew()
                self._commit()
                self._publish()
            except Exception:  # the thread must live: what is kept is tried again
                logger.exception("the journal's round failed")
                self._database_at = self._redis_at = time.monotonic() + RETRY_SECONDS

    def _wait(self) -> bool:
        """Sleep until something is due. False: stopped, and nothing is left."""
        with self._wake:
            while True:
                now = time.monotonic()
                due_at = self._due_at()
                if due_at <= now:
                    return True
                if self._stopping and not (self._dirty or self._uncommitted or self._unsent or self._speaking):
                    if not self._announced:
                        return False
                    self._marked_at = 0.0
                    return True
                self._wake.wait(due_at - now)

    def _due_at(self) -> float:
        """When the next round should begin, in monotonic seconds."""
        due_at = self._renewed_at + self._renewal_seconds
        if any(held.urgent for held in self._dirty):
            due_at = 0.0
        elif self._dirty:
            due_at = min(due_at, self._flushed_at + FLUSH_SECONDS)
        if self._uncommitted:
            due_at = min(due_at, self._database_at)
        if self._unsent or self._speaking:
            due_at = min(due_at, self._redis_at)
        if self._announced:
            due_at = min(due_at, max(self._marked_at + MARK_SECONDS, self._database_at))
        return due_at

    def _take(self) -> list[tuple[Held, Said]]:
        """What turns handed in: all of it at a tick, of those in a hurry between two."""
        now = time.monotonic()
        with self._wake:
            ticked = now >= self._flushed_at + FLUSH_SECONDS
            if ticked:
                self._flushed_at = now
            ready = [held for held in self._dirty if ticked or held.urgent]
            taken = [(held, said) for held in ready for said in held.inbox]
            for held in ready:
                held.inbox, held.urgent = [], False
                del self._dirty[held]
        return taken

    def _commit(self) -> None:
        """Store the writes of many turns in one transaction; what they tell of it may be said then."""
        work = self._uncommitted + self._take()
        self._uncommitted = []
        writes = [said.write for _, said in work if said.write is not None]
        marks_due = bool(self._announced) and time.monotonic() >= self._marked_at + MARK_SECONDS
        if not writes and not marks_due:
            return self._let_say(work, [])
        if time.monotonic() < self._database_at:
            self._uncommitted = work
            return None
        announced, self._announced = self._announced, Announced()
        self._storing = work
        if any(write.end for write in writes):
            faults.at("before_final_commit")
        try:
            results = self._store.commit(writes, announced)
        except (OperationalError, InterfaceError):
            logger.warning("the database does not answer; %d writes wait", len(writes), exc_info=True)
            self._database_at = time.monotonic() + RETRY_SECONDS
            self._uncommitted = work
            self._announced.add(announced)
            return None
        except Exception:  # such as a value that is no text of the database
            logger.exception("a write was refused; each turn is stored alone")
            self._announced.add(announced)
            return self._commit_alone(work)
        self._marked_at = time.monotonic()
        if any(write.end for write in writes):
            faults.at("before_publish")
        return self._let_say(work, results)

    def _commit_alone(self, work: list[tuple[Held, Said]]) -> None:
        for held in dict.fromkeys(held for held, _ in work):
            mine = [(held, said) for of, said in work if of is held]
            try:
                results = self._store.commit([said.write for _, said in mine if said.write], Announced())
            except Exception as error:  # noqa: BLE001 - the turn gets it, where it waits
                for _, said in mine:
                    _settle(said, error)
            else:
                self._let_say(mine, results)

    def _let_say(self, work: list[tuple[Held, Said]], results: list[str]) -> None:
        """Tell the turns what became of their writes; their events may go out."""
        outcomes = iter(results)
        for held, said in work:
            outcome = "ok" if said.write is None else next(outcomes)
            if outcome == "lost":
                self._lose(held)
            if held.lost:
                _fail([said])
                continue
            if outcome == "ok":
                if said.write is not None and said.write.end is not None:
                    held.leaving = True
                _join(held.outbox, said.events)
                if held.outbox:
                    self._speaking[held] = None
            _settle(said, outcome)

    def _publish(self) -> None:
        """One batch a turn, all turns in one pipeline. While Redis is away events wait where they are."""
        while (self._unsent or self._speaking) and time.monotonic() >= self._redis_at:
            if not self._unsent:
                self._unsent = [(held, self._batch(held, held.outbox)) for held in self._speaking if not held.lost]
                for held in self._speaking:
                    held.outbox = []
                self._speaking = {}
            try:
                answers = self._log.publish([batch for _, batch in self._unsent])
            except redis.RedisError as error:
                logger.warning("Redis does not answer, events wait: %s", error)
                self._redis_at = time.monotonic() + RETRY_SECONDS
                return
            except (TypeError, ValueError):
                self._unsent = [(held, batch) for held, batch in self._unsent if self._can_be_said(held, batch)]
                continue
            sent, self._unsent = self._unsent, []
            for (held, batch), answer in zip(sent, answers, strict=True):
                if answer == "refused":
                    self._lose(held)
                elif answer == "empty":
                    self._unsent += self._refilled(held, batch)
                else:
                    self._note(held, batch.events)

    def _batch(self, held: Held, events: Sequence[Event]) -> Batch:
        claim = held.claim
        return self._log.batch(
            claim.thread_id,
            claim.owner,
            events,
            claim_no=claim.claim_no,
            expects_log=held.expects_log,
            number=next(self._numbers),
        )

    def _can_be_said(self, held: Held, batch: Batch) -> bool:
        """Whether all of it is JSON. A turn that says what is none is let go, or no turn could say anything."""
        try:
            for event in batch.events:
                event.head()
                event.text.encode()
        except (TypeError, ValueError):
            logger.exception("an event is no JSON", extra={"turn_id": held.claim.turn_id})
            self._lose(held)
            return False
        return True

    def _refilled(self, held: Held, batch: Batch) -> list[tuple[Held, Batch]]:
        """What to publish instead of a batch whose log was lost."""
        try:
            return [(held, self._refill(held, batch))]
        except NotFound:  # the thread was deleted
            self._lose(held)
            return []
        except SQLAlchemyError:
            logger.warning("the event log could not be filled again; tried again", exc_info=True)
            self._redis_at = time.monotonic() + RETRY_SECONDS
            return [(held, batch)]

    def _refill(self, held: Held, batch: Batch) -> Batch:
        """The log was lost: all durable events of the turn, its open items as they stand, then what was to be said."""
        logger.warning("the event log was lost; it is filled again", extra={"turn_id": held.claim.turn_id})
        claim = held.claim
        turn = self._store.turns.get(claim.turn_id, claim.owner)
        items = self._store.items.of_turn(turn.id)
        events = announcements.durable_events(turn, items, self._store.approvals.of_turn(turn.id))
        waiting = {event.key for event in (*batch.events, *held.outbox) if event.key}  # each behind its own deltas
        events = [event for event in events if event.key not in waiting]
        for item_id, (started, texts) in held.open_items.items():
            events.append(started)
            events += [
                Event("", item_id=item_id, role="delta", stream=stream, text="".join(parts))
                for stream, parts in texts.items()
            ]
        held.expects_log = False
        return self._batch(held, [*events, *batch.events])

    def _note(self, held: Held, events: Sequence[Event]) -> None:
        """These are published."""
        held.expects_log = True
        for event in events:
            if event.role == "start":
                held.open_items[event.item_id] = (event, {})
            elif event.role == "delta" and event.item_id in held.open_items:
                held.open_items[event.item_id][1].setdefault(event.stream, []).append(event.text)
            elif event.role == "end":
                held.open_items.pop(event.item_id, None)
            if event.key:
                self._announced.note(event.key)

    # -- leases

    def _renew(self) -> None:
        now = time.monotonic()
        if now < self._renewed_at + self._renewal_seconds:
            return
        with self._wake:
            ours = [held for held in self._held.values() if not held.leaving]
        self._renewed_at = now
        if not ours:
            return
        claims = [held.claim for held in ours]
        try:
            alive = self._store.turns.renew(claims, lease_ms=self._lease_ms)
            stopped, steered = self._store.turns.called(claims)
        except SQLAlchemyError:
            logger.warning("leases could not be renewed; tried again", exc_info=True)
            self._renewed_at = now - self._renewal_seconds + min(RETRY_SECONDS, self._renewal_seconds)
            return
        for held in ours:
            turn_id = held.claim.turn_id
            if turn_id in alive:
                held.renewed_at = now
            elif not held.leaving:
                self._lose(held)
            if turn_id in stopped:
                held.signal.call(Why.INTERRUPT)
            if steered.get(turn_id, 0) > held.signal.seen_mail:
                held.signal.call(Why.STEER)

    def _watch(self) -> None:
        """Authority ends by the clock, whatever the writer waits for."""
        while not self._stopping:
            time.sleep(self._watch_seconds)
            with self._wake:
                ours = list(self._held.values())
            for held in ours:
                self.has_authority(held)

    def has_authority(self, held: Held) -> bool:
        """Whether the turn is ours at this moment, by the clock; one that is not is let go."""
        if not held.leaving and held.renewed_at < time.monotonic() - self._authority_seconds:
            logger.warning("no renewal in time: the turn is let go", extra={"turn_id": held.claim.turn_id})
            self._lose(held)
        return not held.lost

    def _lose(self, held: Held) -> None:
        """Another worker may have the turn: not a word more, and its commands end."""
        with self._wake:
            if held.lost:
                return
            held.lost = True
            said, held.inbox, held.outbox = held.inbox, [], []
            waiting = [*self._storing, *self._uncommitted]  # for a database that may not answer for long
            said += [one for of, one in waiting if of is held]
            self._dirty.pop(held, None)
            if self._held.get(held.claim.turn_id) is held:
                del self._held[held.claim.turn_id]
        _fail(said)
        try:
            held.signal.call(Why.LOST)
        except Exception:  # the threads of the journal must live
            logger.exception("a turn could not be told that it was lost", extra={"turn_id": held.claim.turn_id})


def _fail(said: Sequence[Said]) -> None:
    for one in said:
        _settle(one, ClaimLost("another worker has the turn"))


def _settle(said: Said, outcome: str | Exception) -> None:
    """Tell who waits for a write; the first word counts, for a turn may be lost while it is stored."""
    if said.stored is None:
        return
    with suppress(InvalidStateError):
        if isinstance(outcome, Exception):
            said.stored.set_exception(outcome)
        else:
            said.stored.set_result(outcome)


def _join(outbox: list[Event], events: Sequence[Event]) -> None:
    """Append events; a delta goes into the one before it when both add to the same text."""
    for event in events:
        last = outbox[-1] if outbox else None
        if (
            last is not None
            and event.method in DELTAS
            and last.stream == event.stream
            and last.item_id == event.item_id
        ):
            text = last.text + event.text
            outbox[-1] = replace(last, text=text, params={**last.params, "delta": text})
        else:
            outbox.append(event)
