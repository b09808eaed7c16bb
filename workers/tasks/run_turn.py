"""turn.run: claim waiting turns and run them."""

from __future__ import annotations

import logging
import time
from functools import partial

from shared import queue, telemetry
from shared.clock import now_ms
from shared.errors import ClaimLost, HistoryTooLarge
from shared.events import durable_events
from shared.ids import new_id
from shared.protocol.turn import TurnError, error_kind, turn_error
from shared.store import Store
from shared.store.outages import RETRY_SECONDS, is_outage, outage_reason
from shared.store.turns import Claim, Turn
from workers.agent import loop
from workers.agent.mcp_servers import leave_servers
from workers.agent.patient_store import patient_store
from workers.agent.running_commands import KeptCommands, end_commands
from workers.agent.running_turn import RunningTurn
from workers.agent.transcript import Transcript
from workers.control.fault_points import fault_point
from workers.control.signal import Signal
from workers.control.stops import AwaitingAnswer, Drained, Interrupted, TurnFailed
from workers.journal.claimed_turn import ClaimedTurn
from workers.journal.turn_writer import TurnWriter
from workers.sandbox.sessions import CommandSessions
from workers.services import Services
from workers.terminals.remote import ThreadTerminals
from workers.workspace.thread_sandbox import command_limits

NAME = queue.RUN_TURN
logger = logging.getLogger(__name__)

INTERNAL_ERROR = turn_error("internal error; see the server's log", "internalServerError")


def run(services: Services, _turn_id: str = "") -> None:
    """Claim and run turns until none waits. _turn_id is for the trace only: the claim decides which turn runs.

    Effect:      each turn has ended and that is published once, or it is parked until an answer arrives, or requeued
                 for another worker
    Redelivery:  harmless; only the delivery that claims a turn runs it
    Retries:     none; the sweep requeues a turn whose lease has expired
    """
    # A busy worker has often claimed the turn of this wake-up already.
    looks_first = bool(services.running)
    while not services.draining.is_set():
        claimed = claim_next(services, looks_first=looks_first)
        if claimed is None:
            return
        claim, claimed_at = claimed
        fault_point("after_claim")
        if services.store.outbox.wants("turn.started"):
            services.queue.enqueue_delivery()
        run_claimed(services, claim, claimed_at)
        looks_first = True
        if services.store.outbox.targets:
            services.queue.enqueue_delivery()
        if services.draining.is_set():  # the place of this turn is free, and this process claims nothing more
            services.queue.enqueue_turn(claim.turn_id)


def claim_next(services: Services, *, looks_first: bool) -> tuple[Claim, float] | None:
    """Claim the next waiting turn. None: no turn may run now, or the database was away; the sweep wakes a worker then.

    looks_first: as of Claims.claim
    Returns:     (claim, monotonic seconds just before it was requested)
    An outage may hide that the turn was claimed. It is found again while its lease lasts, and is lost afterwards.
    """
    server, name = services.config.server, f"{services.name}:{new_id()[-12:]}"
    fault_point("before_claim")
    claim, requested_at, error = services.claimer.claim(name, looks_first=looks_first)
    if error is not None:
        if not is_outage(error):
            raise error
        logger.warning("database did not answer, no turn claimed: %s", outage_reason(error))
        claim = find_claim(services, name, requested_at + server.lease_seconds)
    return None if claim is None else (claim, requested_at)


def find_claim(services: Services, name: str, lease_over_at: float) -> Claim | None:
    """Return the claim of this name, once the database answers; None: there is none, or its lease is over by then."""
    while time.monotonic() < lease_over_at and not services.draining.wait(RETRY_SECONDS):
        try:
            return services.store.claims.find(name)
        except Exception as error:
            if not is_outage(error):
                raise
    return None


def run_claimed(services: Services, claim: Claim, claimed_at: float) -> None:
    """Run one turn until it ends, parks, or leaves this worker."""
    signal = Signal()
    limits = services.config.limits
    claimed = services.journal.acquire(claim, signal, claimed_at)
    services.enter(claim.turn_id, signal)
    writer = TurnWriter(claim, claimed, services.journal)
    store = patient_store(services.store, writer.check_authority)
    transcript = Transcript(writer, store, limits.history_bytes, services.known_logs.take(claim))
    sessions = CommandSessions(
        command_limits(services.config, claim.owner),
        authority=lambda: services.journal.authority_left(claimed),
    )
    terminals = ThreadTerminals(store, services.redis, claim, signal)
    turn = RunningTurn(
        services.config,
        store,
        transcript,
        signal,
        sessions,
        terminals,
        services.terminals,
        commands=services.redis,
        mcp_pool=services.mcp,
    )
    row = claim.turn
    ids = {"turn_id": row.id, "thread_id": row.thread_id, "user_id": row.owner, "claim_no": claim.claim_no}
    find_settings = partial(services.store.threads.all_users_settings, row.thread_id)
    logger.info("turn continued" if claim.recovered else "turn claimed", extra={**ids, "worker": services.name})
    try:
        with telemetry.turn_span(row.id, row.thread_id, row.owner, row.options, claim.claim_no):
            telemetry.turn_claimed(
                row, find_settings, worker=services.name, recovered=claim.recovered, lost=claim.lost_attempts
            )
            run_and_end(services, turn, claimed)
    except HistoryTooLarge as error:
        fail_unread(services, claim, turn_error(str(error), "contextWindowExceeded"))
    except ClaimLost:
        telemetry.lease_lost(row, find_settings)
        logger.warning("claim lost, leaving the turn", extra={"turn_id": claim.turn_id})
    except Exception as error:
        if is_outage(error):
            reason = outage_reason(error)
            logger.warning("database away, leaving the turn to its lease: %s", reason, extra={"turn_id": claim.turn_id})
        else:
            logger.exception("turn could not be ended, failing it", extra={"turn_id": claim.turn_id})
            turn.sessions.close_all("the turn leaving its worker")
            fail_unread(services, claim, INTERNAL_ERROR)
    finally:
        turn.sessions.close_all("the turn leaving its worker")
        leave_servers(turn)
        services.leave(claim.turn_id, signal)
        services.journal.release(claimed)


def fail_unread(services: Services, claim: Claim, error: TurnError) -> None:
    """End a turn whose history cannot be loaded, or whose end cannot be stored as it is.

    Errors: those of the database, ClaimLost
    """
    turn = services.store.claims.fail(claim, error, "The turn failed.")
    record_end(services.store, turn, turn.status, turn.error)
    durable_events.publish_missing(services.store, services.log, turn)


def run_and_end(services: Services, turn: RunningTurn, claimed: ClaimedTurn) -> None:
    """Run a turn, and end it according to how the loop stops.

    Errors: ClaimLost, HistoryTooLarge (the turn has not ended), those of the database
    """
    transcript = turn.transcript
    try:
        transcript.begin()
        if transcript.claim.recovered:
            loop.resume_after_loss(turn)
        while True:
            loop.run(turn)
            if end(turn, "completed"):
                services.known_logs.keep(transcript.claim, transcript.rows, transcript.size_bytes)
                break
    except AwaitingAnswer:
        return
    except Drained:
        return requeue(services, turn, claimed)
    except Interrupted:
        end_early(turn, "interrupted", "The user interrupted the turn.")
    except TurnFailed as failure:
        end_early(turn, "failed", "The turn failed.", failure)
    except (ClaimLost, HistoryTooLarge):
        raise
    except Exception as error:
        if is_outage(error):
            raise
        logger.exception("turn failed", extra={"turn_id": transcript.claim.turn_id})
        end_early(turn, "failed", "The turn failed.", TurnFailed(INTERNAL_ERROR))


def end_early(turn: RunningTurn, status: str, reason: str, failure: TurnFailed | None = None) -> None:
    """End a turn before the model has finished: keep the user's input, and answer open calls."""
    ended = False
    while not ended:
        loop.close_calls(turn, reason)
        ended = end(turn, status, failure.error if failure else None)


def end(turn: RunningTurn, status: str, error: TurnError | None = None) -> bool:
    """End a turn; its commands that still run become background terminals, as far as the limits allow.

    Return False when input has arrived, so that it goes on. Errors: ClaimLost.
    """
    transcript, row = turn.transcript, turn.transcript.claim.turn
    with KeptCommands(turn) as kept:
        kept.stored = transcript.finish(status, error, kept.rows, kept.lease_ms)
    if kept.stored:
        record_end(turn.store, row, status, error)
    return kept.stored


def record_end(store: Store, turn: Turn, status: str, error: TurnError | None) -> None:
    """Log that a turn has ended, and send telemetry of it. status: completed, interrupted or failed."""
    cause = f": {error_kind(error['codexErrorInfo'])}" if error else ""
    duration_ms = max(0, now_ms() - turn.created_at_ms)
    logger.info("turn %s%s", status, cause, extra={"turn_id": turn.id, "duration_ms": duration_ms})
    telemetry.turn_ended(turn, partial(store.threads.all_users_settings, turn.thread_id), status, error)


def requeue(services: Services, turn: RunningTurn, claimed: ClaimedTurn) -> None:
    """Requeue the turn for another worker, because this process shuts down."""
    end_commands(turn, "shutdown")
    turn.transcript.writer.settle()
    services.journal.begin_release(claimed)
    services.store.claims.requeue([turn.transcript.claim])
    logger.info("turn requeued, because its worker stops", extra={"turn_id": turn.transcript.claim.turn_id})
