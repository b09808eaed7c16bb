"""feedback.process: collect what a report is about, redact it, deliver it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy.exc import InterfaceError, OperationalError

from shared import rollout, turn_logs
from shared.clock import now_ms
from shared.feedback import DATABASE, DIRECTORY, WEBHOOK, redaction
from shared.ids import new_id
from shared.store.feedback import Report
from workers.agent import faults
from workers.services import Services

logger = logging.getLogger(__name__)

LEASES = 4  # of a turn: a lease is not renewed here, and a large thread takes a while


def run(services: Services) -> None:
    """Claim and process until nothing is due.

    Leaves:   each report delivered to every sink, or due again later, or failed with the reason
    Twice:    harmless; a claim takes a report for one worker, a file is replaced by one that says the same, and all
              that the database keeps or sends is one transaction behind that claim
    Retries:  `retry_seconds` of [feedback]; a report whose worker died is due when its lease has run out
    """
    while not services.draining.is_set():
        report = services.store.feedback.claim(lease_ms=round(LEASES * services.config.server.lease_seconds * 1000))
        if report is None:
            return
        faults.at("feedback_claimed")
        try:
            process(services, report)
        except (OperationalError, InterfaceError):
            logger.exception("the database does not answer; the report is left to its lease")
            return
        except OSError as error:
            put_off(services, report, f"the report could not be written: {error.strerror}")
        except Exception:
            logger.exception("a report could not be processed", extra={"feedback_id": report.id})
            put_off(services, report, "internal error; the server's log says more")


def process(services: Services, report: Report) -> None:
    """From the claim to the end. Errors: those of the sinks."""
    settings = services.config.feedback
    collected = collect(services, report)
    faults.at("feedback_collected")
    content = orjson.dumps(redaction(services.config).value(collected), option=orjson.OPT_INDENT_2)
    if DIRECTORY in settings.sinks:
        write(settings.directory / f"{report.id}.json", content)
    faults.at("feedback_written")
    told = {"classification": report.classification, "reason": report.reason, "tags": report.tags}
    delivered = services.store.feedback.finish(
        report,
        content.decode() if DATABASE in settings.sinks else None,
        told if WEBHOOK in settings.sinks else {},
    )
    faults.at("feedback_finished")
    if delivered:
        services.queue.ring_outbox()
        logger.info("a report is delivered", extra={"feedback_id": report.id})
    elif services.store.feedback.all_users_is_gone(report.id):
        remove(services, [report.id])  # it was erased while its file was written
    else:
        logger.warning("a report is left alone: another worker was faster", extra={"feedback_id": report.id})


def collect(services: Services, report: Report) -> dict[str, Any]:
    """The report, and if its author agreed the thread's log and the server's log lines of its turns."""
    about = {
        "id": report.id,
        "userId": report.owner,
        "threadId": report.thread_id,
        "classification": report.classification,
        "reason": report.reason,
        "tags": report.tags,
        "createdAtMs": report.created_at_ms,
    }
    if not report.include_logs or report.thread_id is None:
        return about
    time.sleep(max(0.0, turn_logs.SETTLE_SECONDS - (now_ms() - report.created_at_ms) / 1000))
    history = services.store.histories.all_users_find(report.thread_id)
    if history is None or history.thread.owner != report.owner:
        return {**about, "rollout": None, "serverLog": []}  # the thread was deleted meanwhile
    lines, cut = newest(list(rollout.write(history)), services.config.feedback.max_log_bytes)
    logged = turn_logs.read(services.redis, [history.thread.id, *(turn.id for turn in history.turns)])
    return {**about, "rollout": [orjson.loads(line) for line in lines], "rolloutIsCut": cut, "serverLog": logged}


def newest(lines: list[bytes], max_bytes: int) -> tuple[list[bytes], bool]:
    """(the first line, which says what the thread is, and the last ones that there is room for; whether any is cut)."""
    kept: list[bytes] = []
    room = max_bytes - len(lines[0])
    for line in reversed(lines[1:]):
        room -= len(line)
        if room < 0:
            break
        kept.append(line)
    return [lines[0], *reversed(kept)], len(kept) + 1 < len(lines)


def write(path: Path, content: bytes) -> None:
    """The whole file or none, readable by us alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.parent / f".{new_id()}.tmp"
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def remove(services: Services, report_ids: Sequence[str]) -> None:
    """Reports, and all that the sinks of this deployment keep of them."""
    for report_id in report_ids:
        (services.config.feedback.directory / f"{report_id}.json").unlink(missing_ok=True)
    services.store.feedback.all_users_delete(report_ids)


def put_off(services: Services, report: Report, error: str) -> None:
    waits = services.config.feedback.retry_seconds
    again = report.attempts <= len(waits)
    logger.warning(
        "a report was not delivered: %s; %s", error, "tried again later" if again else "given up",
        extra={"feedback_id": report.id},
    )  # fmt: skip
    wait_ms = round(waits[report.attempts - 1] * 1000) if again else None
    services.store.feedback.put_off(report, error, wait_ms)
