"""The background terminals of this worker process.

Owns the commands that turns of this process left running: their threads, their leases, and the end of their items. A
turn reserves a place, stores the terminal with its own end, then has the command adopted. From there on the row in the
store is the right to write: a command whose row is gone, or whose lease may be over, is ended.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from functools import partial

import redis

from shared.errors import ClaimLost, ToolError
from shared.events import durable_events, terminal_input
from shared.events.log import Event
from shared.events.terminal_input import TerminalAnswer, TerminalInput
from shared.fair_share import FairShare
from shared.protocol.notifications import OUTPUT_DELTA
from shared.store import Store
from shared.store.outages import is_outage, retry_outages
from shared.store.terminals import Terminal
from shared.store.turns import Claim
from workers.journal.journal import Journal
from workers.journal.turn_writer import TurnWriter
from workers.sandbox.sessions import BY_USER, CommandSession
from workers.tools.write_stdin import check_terminal

logger = logging.getLogger(__name__)

END_SECONDS = 5.0  # for which a turn waits until the end of a command is stored
MAX_TERMINALS = 64  # of one process; one user can hold half of them
SHUTDOWN = "shutdown"
REMOVED = "the removal of its turn or thread"
SILENT_DATABASE = "the silence of the database"


@dataclass(eq=False)
class RunningTerminal:
    """A command that runs on. renewed_at: monotonic seconds before its lease was last renewed"""

    terminal: Terminal
    session: CommandSession
    writer: TurnWriter
    renewed_at: float
    over: threading.Event = field(default_factory=threading.Event)


class RunningTerminals:
    """All of them; there is one such object per worker process. All methods may be called from any thread."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        client: redis.Redis,
        worker: str,
        *,
        lease_seconds: float,
        renewal_seconds: float,
        authority_seconds: float,
    ) -> None:
        self._store = store
        self._journal = journal
        self._client = client
        self._worker = worker
        self.lease_ms = round(lease_seconds * 1000)
        self._renewal_seconds = renewal_seconds
        self._authority_seconds = authority_seconds
        self._lock = threading.Lock()
        self._running: dict[str, RunningTerminal] = {}
        self._share = FairShare(MAX_TERMINALS)
        self._adopted = threading.Event()
        self._renewer: threading.Thread | None = None
        self._draining = False

    @property
    def is_draining(self) -> bool:
        return self._draining

    def reserve(self, owner: str, wanted: int, room: int) -> int:
        """Reserve places for commands of a user, at most `room`. Return how many; a shutdown reserves none."""
        places = 0
        while places < min(wanted, room) and not self._draining and self._share.take(owner, 1):
            places += 1
        return places

    def give_back(self, owner: str, places: int) -> None:
        """Give reserved places back that are not used: the turn goes on."""
        self._share.give_back(owner, places)

    def terminal(self, session: CommandSession, claim: Claim, created_at_ms: int) -> Terminal:
        """Return the row of a command that this process keeps."""
        return Terminal(
            item_id=session.item_id,
            thread_id=claim.thread_id,
            turn_id=claim.turn_id,
            owner=claim.owner,
            process_id=session.id,
            command=session.line,
            cwd=session.item["cwd"],
            worker=self._worker,
            created_at_ms=created_at_ms,
        )

    def adopt(self, session: CommandSession, terminal: Terminal, claim: Claim, held_since: float) -> None:
        """Take over the command of a turn that has ended; its terminal is stored, and its place reserved.

        held_since: monotonic seconds before the terminal was stored
        """
        writer = TurnWriter(claim, self._journal.detach(claim), self._journal)
        running = RunningTerminal(terminal, session, writer, held_since)
        session.process.authority = lambda: running.renewed_at + self._authority_seconds - time.monotonic()
        with self._lock:
            self._running[terminal.item_id] = running
            if self._renewer is None:
                self._renewer = threading.Thread(target=self._renew, name="terminals", daemon=True)
                self._renewer.start()
            draining = self._draining
        self._adopted.set()
        session.output.release(partial(writer.publish_delta, OUTPUT_DELTA, terminal.item_id))
        threading.Thread(target=self._watch, args=(running,), name="terminal", daemon=True).start()
        if draining:
            session.process.terminate(SHUTDOWN)

    def stop(self, item_id: str) -> None:
        """End a command that a client asked to end, if it runs here."""
        running = self._running.get(item_id)
        if running is not None:
            running.session.process.terminate(BY_USER)

    def handle_message(self, item_id: str, given: TerminalInput) -> None:
        """Handle what a turn sends to a command; returns at once."""
        threading.Thread(target=self._answer, args=(item_id, given), name="terminal input", daemon=True).start()

    def drain(self) -> None:
        """Take over no more commands, and end those that run."""
        with self._lock:
            self._draining = True
            running = list(self._running.values())
        for one in running:
            one.session.process.terminate(SHUTDOWN)

    def join(self, timeout_seconds: float) -> None:
        """Wait until the ends of all commands are stored."""
        until_s = time.monotonic() + timeout_seconds
        for one in list(self._running.values()):
            one.over.wait(max(0.0, until_s - time.monotonic()))

    def _watch(self, running: RunningTerminal) -> None:
        """Wait for a command's end, then store and publish it."""
        terminal, session = running.terminal, running.session
        ids = {"turn_id": terminal.turn_id, "item_id": terminal.item_id}
        try:
            session.process.wait()
            reason = session.process.stopped_by
            outcome = session.summary(with_output=True)
            report = None if reason in (None, BY_USER, REMOVED) else outcome
            end = partial(self._store.terminals.end, terminal, session.ended_item(), outcome, report)
            row = retry_outages(end, partial(self._check_held, running))
            if row is None:
                logger.info("background terminal not ended here, its row is gone", extra=ids)
                return
            running.writer.publish_events(durable_events.item_completed(row), urgent=True)
            if report is not None:
                message = f"the background terminal `{terminal.command}` was ended by {reason}"
                running.writer.publish_events(Event("warning", {"threadId": terminal.thread_id, "message": message}))
            logger.info("background terminal ended", extra={**ids, "exit_code": session.process.exit_code})
        except ClaimLost:
            logger.warning("background terminal left to the sweep, the database does not answer", extra=ids)
        except Exception:
            logger.exception("end of a background terminal not stored, leaving it to the sweep", extra=ids)
        finally:
            with self._lock:
                del self._running[terminal.item_id]
            self._share.give_back(terminal.owner, 1)
            running.over.set()

    def _check_held(self, running: RunningTerminal) -> None:
        """Raise ClaimLost when the lease is over, so that the sweep ends the item."""
        if time.monotonic() - running.renewed_at > self.lease_ms / 1000:
            raise ClaimLost("the lease of the background terminal is over")

    def _renew(self) -> None:
        """Renew the leases while any command runs, and end the commands that lost theirs or were asked to end."""
        pause = threading.Event()
        while True:
            self._adopted.wait()
            pause.wait(self._renewal_seconds)
            with self._lock:
                running = list(self._running.values())
                if not running:
                    self._adopted.clear()
                    continue
            try:
                self._renew_once(running)
            except Exception as error:  # the thread must live
                if is_outage(error):
                    logger.warning("leases of background terminals not renewed: %s", type(error).__name__)
                else:
                    logger.exception("leases of background terminals not renewed")
            for one in running:
                if time.monotonic() - one.renewed_at > self._authority_seconds:
                    one.session.process.terminate(SILENT_DATABASE)

    def _renew_once(self, running: list[RunningTerminal]) -> None:
        asked_at = time.monotonic()
        renewed = self._store.terminals.renew(self._worker, lease_ms=self.lease_ms)
        for one in running:
            stopping = renewed.get(one.terminal.item_id)
            if stopping is None:
                one.session.process.terminate(REMOVED)
                continue
            one.renewed_at = asked_at
            if stopping:
                one.session.process.terminate(BY_USER)

    def _answer(self, item_id: str, given: TerminalInput) -> None:
        """Type into a command, wait, and answer with a report."""
        try:
            self._send(given.answer_key, self._use(item_id, given))
        except Exception:
            logger.exception("input of a background terminal failed", extra={"item_id": item_id})

    def _use(self, item_id: str, given: TerminalInput) -> TerminalAnswer:
        running = self._running.get(item_id)
        if running is None:
            return {"ended": True}
        session = running.session
        try:
            check_terminal(session, given.chars)
            if given.chars and not session.process.ended:
                session.process.write(given.chars.encode())
        except ToolError as error:
            return {"error": str(error)}
        began_at = time.monotonic()
        if session.process.wait(given.yield_s):
            running.over.wait(END_SECONDS)
            return {"ended": True}
        return {"report": session.report(time.monotonic() - began_at, given.max_output_tokens)}

    def _send(self, key: str, value: TerminalAnswer) -> None:
        try:
            terminal_input.answer(self._client, key, value)
        except redis.RedisError as error:
            logger.warning("answer of a background terminal not sent: %s", error)
