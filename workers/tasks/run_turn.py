"""turn.run: run waiting turns to their ends."""

from __future__ import annotations

import logging
import time
from typing import Any

from sqlalchemy.exc import InterfaceError, OperationalError

from shared import telemetry
from shared.errors import ClaimLost
from shared.protocol.turn import turn_error
from shared.store.turns import Claim
from shared.store.users import LOCAL_USER
from workers.agent import faults, loop
from workers.agent.journal import Held
from workers.agent.signal import Signal
from workers.agent.stops import AwaitingAnswer, HandedOver, Interrupted, TurnFailed
from workers.agent.transcript import Transcript
from workers.sandbox.limits import CommandLimits
from workers.sandbox.sessions import Sessions
from workers.services import Services

logger = logging.getLogger(__name__)


def run(services: Services) -> None:
    """Claim and run until nothing waits.

    Leaves:   each turn over and that said once, or put down until an answer or another worker comes
    Twice:    harmless; only the delivery that claims a turn runs it
    Retries:  none; the sweep queues a turn again whose lease ran out
    """
    while not services.draining.is_set():
        claimed_at = time.monotonic()
        server, limits = services.config.server, services.config.limits
        claim = services.store.turns.claim(
            services.name, lease_ms=round(server.lease_seconds * 1000), turns_at_once=limits.turns_at_once
        )
        if claim is None:
            return
        faults.at("after_claim")
        if services.store.outbox.wants("turn.started"):
            services.queue.ring_outbox()
        run_claimed(services, claim, claimed_at)
        if services.store.outbox.targets:
            services.queue.ring_outbox()


def run_claimed(services: Services, claim: Claim, claimed_at: float) -> None:
    """Run one turn for as long as it stays with this worker."""
    signal = Signal()
    limits = services.config.limits
    held = services.journal.hold(claim, signal, claimed_at)
    services.enter(claim.turn_id, signal)
    transcript = Transcript(claim, held, services.store, services.journal)
    sessions = Sessions(
        CommandLimits(total_memory_bytes=limits.command_memory_bytes if claim.owner != LOCAL_USER else 0),
        may_begin=lambda: services.journal.has_authority(held),
    )
    turn = loop.Running(services.config, services.store, transcript, signal, sessions)
    logger.info("turn claimed", extra={"turn_id": claim.turn_id, "claim_no": claim.claim_no})
    of = claim.turn
    try:
        with telemetry.turn_span(of.id, of.thread_id, of.owner, of.options, claim.claim_no):
            telemetry.turn_claimed(
                worker=services.name, recovered=claim.recovered, lost=claim.lost, created_at_ms=of.created_at_ms
            )
            work(services, turn, held)
    except ClaimLost:
        telemetry.lease_lost(of.id, of.thread_id, of.owner)
        logger.warning("the claim was lost", extra={"turn_id": claim.turn_id})
    except (OperationalError, InterfaceError):
        logger.exception(
            "the database does not answer; the turn is left to its lease", extra={"turn_id": claim.turn_id}
        )
    finally:
        turn.sessions.close_all("the turn leaving its worker")
        services.leave(claim.turn_id, signal)
        services.journal.release(held)


def work(services: Services, turn: loop.Running, held: Held) -> None:
    """The edge of a turn: how it stops decides how it ends. Errors: ClaimLost, those of the database."""
    transcript = turn.transcript
    try:
        transcript.begin()
        if transcript.claim.recovered:
            loop.adopt(turn)
        while True:
            loop.run(turn)
            loop.end_commands(turn, "the end of the turn")
            if end(transcript, "completed"):
                break
    except AwaitingAnswer:
        return
    except HandedOver:
        return hand_over(services, turn, held)
    except Interrupted:
        finish(turn, "interrupted", "The user interrupted the turn.")
    except TurnFailed as failure:
        finish(turn, "failed", "The turn failed.", failure)
    except (ClaimLost, OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("turn failed", extra={"turn_id": transcript.claim.turn_id})
        error = turn_error("internal error; the server's log says more", "internalServerError")
        finish(turn, "failed", "The turn failed.", TurnFailed(error))


def finish(turn: loop.Running, status: str, why: str, failure: TurnFailed | None = None) -> None:
    """End a turn before the model is done: keep what the user said, answer open calls."""
    transcript = turn.transcript
    ended = False
    while not ended:
        loop.close_calls(turn, why)
        loop.end_commands(turn, why)
        ended = end(transcript, status, failure.error if failure else None)


def end(transcript: Transcript, status: str, error: dict[str, Any] | None = None) -> bool:
    """Whether the turn is over; if not, input came in. Errors: ClaimLost."""
    ended = transcript.finish(status, error)
    if ended:
        turn = transcript.claim.turn
        telemetry.turn_ended(turn.id, turn.thread_id, turn.owner, status, turn.created_at_ms, error)
    return ended


def hand_over(services: Services, turn: loop.Running, held: Held) -> None:
    """Queue the turn again for another worker: this process shuts down."""
    loop.end_commands(turn, "shutdown")
    turn.transcript.settle()
    services.journal.leave(held)
    services.store.turns.hand_over([turn.transcript.claim])
    services.queue.ring_turn(turn.transcript.claim.turn_id)
