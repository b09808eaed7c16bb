"""Feedback reports of users, and the state of their processing.

    received → processing → delivered | failed

A claim selects a report that is due and makes it due again at the end of its lease, on the database's clock; a worker
whose claim was replaced changes nothing (claim_no). `finish` marks the report as delivered, stores the content that the
database keeps and adds the webhook messages in one transaction: a worker that dies leaves all of these behind or none.
Of reports with the same owner, thread, classification and reason, the first one has `first_key`, which is unique; the
later ones are its duplicates and share its status and error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update
from sqlalchemy.engine import Row

from shared.clock import now_ms
from shared.errors import Conflict, NotFound, Overloaded
from shared.ids import new_id
from shared.store import audit
from shared.store.audit import AuditEntry
from shared.store.conflicts import retry_conflicts
from shared.store.connection import Database
from shared.store.outbox import Outbox
from shared.store.tables import feedback, feedback_contents

STATUSES = ("received", "processing", "delivered", "failed")
DAY_MS = 86_400_000
MAX_ATTEMPTS = 20  # including those whose worker died: a report that kills workers must end too
PROCESSED = "feedback.processed"
DELETED_AT_ONCE = 1000
SAME_REPORT = {"feedback_first_key_key": "feedback.first_key"}  # another worker claimed the first report with that text


@dataclass(frozen=True, slots=True)
class Report:
    """One report. Its texts were redacted before they were stored.

    thread_id:    the owner's thread that it is about
    duplicate_of: the first report with the same content; status and error are then those of that report
    """

    id: str
    owner: str
    thread_id: str | None
    classification: str
    reason: str | None
    tags: dict[str, str]
    include_logs: bool
    created_at_ms: int
    status: str
    error: str | None
    duplicate_of: str | None
    attempts: int
    claim_no: int
    changed_at_ms: int


class Feedback:
    """The tables feedback and feedback_contents."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    def create(
        self,
        owner: str,
        *,
        thread_id: str | None,
        classification: str,
        reason: str | None,
        tags: Mapping[str, str],
        include_logs: bool,
        per_day: int,
        audit_entry: AuditEntry | None = None,
    ) -> Report:
        """Store a report. per_day: how many reports one user may make in a day; 0: no limit. Errors: Overloaded."""
        at_ms = now_ms()
        content = orjson.dumps([owner, thread_id, classification, reason])
        values = {
            "id": new_id(),
            "owner": owner,
            "thread_id": thread_id,
            "classification": classification,
            "reason": reason,
            "tags": dict(tags),
            "include_logs": include_logs,
            "created_at_ms": at_ms,
            "status": "received",
            "same_key": hashlib.sha256(content).hexdigest(),
            "attempts": 0,
            "claim_no": 0,
            "changed_at_ms": at_ms,
        }
        today = select(func.count()).where(feedback.c.owner == owner, feedback.c.created_at_ms > at_ms - DAY_MS)
        with self._database.write() as connection:
            if per_day and (connection.scalar(today) or 0) >= per_day:
                raise Overloaded(f"more than {per_day} reports in a day; retry later", retry_after_ms=3_600_000)
            due = insert(feedback).values(**values, due_at_ms=self._database.now_ms())
            connection.execute(due)
            report = _read(connection, feedback.c.id == values["id"])[0]
            audit.write(connection, audit_entry, thread_id=thread_id, subject_id=report.id)
            return report

    def get(self, report_id: str, owner: str) -> Report:
        """Return the owner's report. Errors: NotFound."""
        return self._one(and_(feedback.c.id == report_id, feedback.c.owner == owner), report_id)

    def list(self, owner: str, before: str | None, limit: int) -> Sequence[Report]:
        """Return a user's reports, newest first. before: the last id of the previous page."""
        mine = feedback.c.owner == owner
        if before is not None:
            mine &= feedback.c.id < before
        with self._database.read() as connection:
            return _read(connection, mine, limit)

    # -- what workers do

    def claim(self, *, lease_ms: int) -> Report | None:
        """Claim the report that has been due for longest. Duplicates of other reports end here. None: none is due."""

        def write() -> Report | None:
            with self._database.write() as connection:
                return self._claim(connection, lease_ms)

        while True:
            claimed = retry_conflicts(write, SAME_REPORT)
            if claimed is None:
                return None
            if claimed.status == "processing" and claimed.duplicate_of is None:
                return claimed

    def _claim(self, connection: Connection, lease_ms: int) -> Report | None:
        due = select(feedback).where(feedback.c.due_at_ms <= self._database.now_ms())
        oldest = due.order_by(feedback.c.due_at_ms, feedback.c.id).limit(1).with_for_update(skip_locked=True)
        row = connection.execute(oldest).first()
        if row is None:
            return None
        if row.attempts >= MAX_ATTEMPTS:
            self._end(connection, row, "failed", error="its processing was begun too often and never ended")
            return _read(connection, feedback.c.id == row.id)[0]
        first = select(feedback.c.id).where(feedback.c.first_key == row.same_key, feedback.c.id != row.id)
        first_id = connection.scalar(first)
        if first_id is not None:
            self._end(connection, row, "delivered", duplicate_of=first_id)
            return _read(connection, feedback.c.id == row.id)[0]
        claimed = update(feedback).where(feedback.c.id == row.id).values(
            status="processing",
            first_key=row.same_key,
            attempts=row.attempts + 1,
            claim_no=row.claim_no + 1,
            due_at_ms=self._database.now_ms() + lease_ms,
            changed_at_ms=now_ms(),
        )  # fmt: skip
        connection.execute(claimed)
        return _read(connection, feedback.c.id == row.id)[0]

    def finish(self, report: Report, content: str | None, webhook_data: Mapping[str, object]) -> bool:
        """Mark a report as delivered. False: another worker has claimed it meanwhile; nothing was changed.

        content:      JSON that the database keeps of it; None: nothing
        webhook_data: members of the webhook message beside the ids
        """
        with self._database.write() as connection:
            row = self._lock_claimed(connection, report)
            if row is None:
                return False
            self._end(connection, row, "delivered", more=webhook_data)
            if content is not None:
                connection.execute(insert(feedback_contents).values(id=report.id, content=content))
        return True

    def retry_or_fail(self, report: Report, error: str, retry_in_ms: int | None) -> None:
        """End an attempt that did not work: the report is due again after retry_in_ms, or (None) it has failed."""
        with self._database.write() as connection:
            row = self._lock_claimed(connection, report)
            if row is None:
                return
            if retry_in_ms is None:
                self._end(connection, row, "failed", error=error)
                return
            later = {"due_at_ms": self._database.now_ms() + retry_in_ms, "error": error, "changed_at_ms": now_ms()}
            connection.execute(update(feedback).where(feedback.c.id == row.id).values(later))

    def all_users_count_due(self) -> int:
        """Return how many reports are due."""
        with self._database.read() as connection:
            due = feedback.c.due_at_ms <= self._database.now_ms()
            return connection.scalar(select(func.count()).select_from(feedback).where(due)) or 0

    def _lock_claimed(self, connection: Connection, report: Report) -> Row[Any] | None:
        mine = and_(
            feedback.c.id == report.id, feedback.c.claim_no == report.claim_no, feedback.c.due_at_ms.isnot(None)
        )
        return connection.execute(select(feedback).where(mine).with_for_update()).first()

    def _end(
        self,
        connection: Connection,
        row: Row[Any],
        status: str,
        *,
        error: str | None = None,
        duplicate_of: str | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        values = {"status": status, "error": error, "due_at_ms": None, "changed_at_ms": now_ms()}
        if status == "failed":
            values["first_key"] = None  # so that the next report with the same content is processed
        connection.execute(update(feedback).where(feedback.c.id == row.id).values(duplicate_of=duplicate_of, **values))
        ids = {"feedbackId": row.id, "threadId": row.thread_id, "userId": row.owner, "status": status}
        if duplicate_of is not None:
            ids["duplicateOf"] = duplicate_of
        self._outbox.add(connection, PROCESSED, {**ids, **(more or {})})

    # -- what operators do

    def all_users_list(self, statuses: Sequence[str], limit: int, before: str | None = None) -> Sequence[Report]:
        """Return reports of all users, newest first. before: the last id of the previous page."""
        wanted: ColumnElement[bool] = feedback.c.status.in_(statuses)
        if before is not None:
            wanted = and_(wanted, feedback.c.id < before)
        with self._database.read() as connection:
            return _read(connection, wanted, limit)

    def all_users_get(self, report_id: str) -> Report:
        """Return a report, whoever made it. Errors: NotFound."""
        return self._one(feedback.c.id == report_id, report_id)

    def all_users_content(self, report_id: str) -> Any:
        """Return the content that was collected for a report, redacted; None: the database keeps nothing of it."""
        with self._database.read() as connection:
            text = connection.scalar(select(feedback_contents.c.content).where(feedback_contents.c.id == report_id))
        return None if text is None else orjson.loads(text)

    def all_users_retry(self, report_id: str, *, audit_entry: AuditEntry | None = None) -> None:
        """Queue a failed report again. Errors: NotFound; Conflict (it has not failed)."""
        values = {"status": "received", "error": None, "attempts": 0, "changed_at_ms": now_ms()}
        with self._database.write() as connection:
            failed = and_(feedback.c.id == report_id, feedback.c.status == "failed")
            due = update(feedback).where(failed).values(**values, due_at_ms=self._database.now_ms())
            if connection.execute(due).rowcount == 1:
                audit.write(connection, audit_entry, subject_id=report_id)
                return
        raise Conflict(f"report {report_id} is {self.all_users_get(report_id).status}; only failed ones are retried")

    def all_users_of(self, owner: str, thread_id: str | None) -> Sequence[str]:
        """Return ids of the owner's reports: those about a thread, or all of them."""
        mine = feedback.c.owner == owner
        if thread_id is not None:
            mine &= feedback.c.thread_id == thread_id
        with self._database.read() as connection:
            return connection.scalars(select(feedback.c.id).where(mine)).all()

    def all_users_delete(self, report_ids: Sequence[str]) -> None:
        """Delete reports and their content."""
        with self._database.write() as connection:
            for table in (feedback_contents, feedback):
                connection.execute(delete(table).where(table.c.id.in_(report_ids)))

    def all_users_is_gone(self, report_id: str) -> bool:
        """Return whether the report does not exist any more."""
        with self._database.read() as connection:
            return connection.scalar(select(feedback.c.id).where(feedback.c.id == report_id)) is None

    def all_users_old(self, before_ms: int) -> Sequence[str]:
        """Return ids of finished reports that are older than a time, at most DELETED_AT_ONCE."""
        old = and_(feedback.c.changed_at_ms < before_ms, feedback.c.due_at_ms.is_(None))
        with self._database.read() as connection:
            return connection.scalars(select(feedback.c.id).where(old).limit(DELETED_AT_ONCE)).all()

    def _one(self, condition: Any, report_id: str) -> Report:
        with self._database.read() as connection:
            found = _read(connection, condition)
        if not found:
            raise NotFound(f"feedback not found: {report_id}")
        return found[0]


def _read(connection: Connection, condition: Any, limit: int | None = None) -> Sequence[Report]:
    first = feedback.alias("first")
    same = feedback.outerjoin(first, first.c.id == feedback.c.duplicate_of)
    names = [name for name in Report.__dataclass_fields__ if name not in ("status", "error")]
    status = func.coalesce(first.c.status, feedback.c.status).label("status")
    error = func.coalesce(first.c.error, feedback.c.error).label("error")
    query = select(*(feedback.c[name] for name in names), status, error).select_from(same).where(condition)
    return [Report(**row._mapping) for row in connection.execute(query.order_by(feedback.c.id.desc()).limit(limit))]
