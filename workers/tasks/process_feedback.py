"""feedback.process: collect what a report is about, redact it, and deliver it."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import orjson

from shared import queue, rollout
from shared.clock import now_ms
from shared.config.feedback import DATABASE, DIRECTORY, WEBHOOK, redaction
from shared.ids import new_id
from shared.logs import turn_logs
from shared.store.feedback import Report
from shared.store.outages import is_outage
from workers.control.fault_points import fault_point
from workers.services import Services

NAME = queue.PROCESS_FEEDBACK
logger = logging.getLogger(__name__)

LEASES = 4  # of a turn: the lease is not renewed here, and a large thread takes a while


def run(services: Services, _report_id: str = "") -> None:
    """Claim and process reports until none is due. _report_id is for the trace only.

    Effect:      each report is delivered to every sink, or due again later, or failed with the reason
    Redelivery:  harmless; a claim reserves a report for one worker, a file is replaced by an equal one, and
                 everything that the database stores or sends is one transaction that requires the claim
    Retries:     `retry_seconds` of [feedback]; a report whose worker died is due when its lease has expired
    """
    while not services.draining.is_set():
        report = services.store.feedback.claim(lease_ms=round(LEASES * services.config.server.lease_seconds * 1000))
        if report is None:
            return
        fault_point("feedback_claimed")
        try:
            process(services, report)
        except OSError as error:
            retry_or_fail(services, report, f"the report could not be written: {error.strerror}")
        except Exception as error:
            if is_outage(error):
                logger.exception("database unreachable, leaving the report to its lease")
                return
            logger.exception("report not processed", extra={"feedback_id": report.id})
            retry_or_fail(services, report, "internal error; see the server's log")


def process(services: Services, report: Report) -> None:
    """Collect, redact and deliver one report. Errors: those of the sinks."""
    settings = services.config.feedback
    collected = collect(services, report)
    fault_point("feedback_collected")
    content = orjson.dumps(redaction(services.config).value(collected), option=orjson.OPT_INDENT_2)
    if DIRECTORY in settings.sinks:
        write(settings.directory / f"{report.id}.json", content)
    fault_point("feedback_written")
    event = {"classification": report.classification, "reason": report.reason, "tags": report.tags}
    delivered = services.store.feedback.finish(
        report,
        content.decode() if DATABASE in settings.sinks else None,
        event if WEBHOOK in settings.sinks else {},
    )
    fault_point("feedback_finished")
    if delivered:
        services.queue.enqueue_delivery()
        logger.info("report delivered", extra={"feedback_id": report.id})
    elif services.store.feedback.all_users_is_gone(report.id):
        remove(services, [report.id])  # it was erased while its file was written
    else:
        logger.warning("report not delivered: another worker has delivered it", extra={"feedback_id": report.id})


class CollectedReport(TypedDict):
    """A report as it is delivered, before redaction.

    rollout:      lines of the thread's rollout; None: the thread was deleted
    rolloutIsCut: whether lines were left out
    serverLog:    log lines of the thread and its turns
    """

    id: str
    userId: str
    threadId: str | None
    classification: str
    reason: str | None
    tags: Mapping[str, str]
    createdAtMs: int
    rollout: NotRequired[Sequence[object] | None]
    rolloutIsCut: NotRequired[bool]
    serverLog: NotRequired[Sequence[object]]


def collect(services: Services, report: Report) -> CollectedReport:
    """Return the report and, if its author agreed, the thread's rollout and the server's log lines of its turns."""
    about: CollectedReport = {
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
    found = services.store.histories.all_users_find(report.thread_id)
    if found is None or found[0].owner != report.owner:
        return {**about, "rollout": None, "serverLog": []}  # the thread was deleted meanwhile
    thread, turns = found
    written = rollout.write(thread, turns, services.store.items.of_turn)
    lines, cut = newest(written, services.config.feedback.max_log_bytes)
    logged = turn_logs.read(services.redis, [thread.id, *(turn.id for turn in turns)])
    return {**about, "rollout": [orjson.loads(line) for line in lines], "rolloutIsCut": cut, "serverLog": logged}


def newest(lines: Iterator[bytes], max_bytes: int) -> tuple[list[bytes], bool]:
    """Return (the first line, which describes the thread, and as many of the last lines as fit; whether any is cut).

    Holds no more than max_bytes and two lines at any time.
    """
    first = next(lines)
    kept: deque[bytes] = deque()
    room, cut = max_bytes - len(first), False
    for line in lines:
        kept.append(line)
        room -= len(line)
        while room < 0 and kept:
            room += len(kept.popleft())
            cut = True
    return [first, *kept], cut


def write(path: Path, content: bytes) -> None:
    """Write a file atomically, readable by the server's user only."""
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
    """Delete reports, and everything that the sinks of this deployment keep of them."""
    for report_id in report_ids:
        (services.config.feedback.directory / f"{report_id}.json").unlink(missing_ok=True)
    services.store.feedback.all_users_delete(report_ids)


def retry_or_fail(services: Services, report: Report, error: str) -> None:
    """Schedule the next attempt; after the last one, mark the report as failed."""
    waits = services.config.feedback.retry_seconds
    retries = report.attempts <= len(waits)
    logger.warning(
        "report not delivered, %s: %s", "retrying later" if retries else "giving up", error,
        extra={"feedback_id": report.id},
    )  # fmt: skip
    wait_ms = round(waits[report.attempts - 1] * 1000) if retries else None
    services.store.feedback.retry_or_fail(report, error, wait_ms)
