"""erasure.run: complete erasures: remove events, session files and workspaces, and everything of deleted users."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import redis
from sqlalchemy.exc import SQLAlchemyError

from shared import queue
from shared.errors import InvalidRequest, ThreadhouseError
from shared.events import turn_signals
from shared.events.log import Event
from shared.store.erasures import AGE, THREAD, UNUSED, USER, USER_DELETED, Erasure
from workers.services import Services
from workers.tasks import process_feedback, write_session
from workers.workspace.folders import count_files, remove_workspace

NAME = queue.ERASE
logger = logging.getLogger(__name__)


def run(services: Services) -> None:
    """Continue all erasures that are due, unless enough threads of this process do so already.

    Effect:      receipts count what was removed of each kind
    Redelivery:  harmless, even in parallel
    Retries:     the sweep enqueues this task again half a minute later for what is left
    """
    if not services.erasing.acquire(blocking=False):
        return
    try:
        while due := services.store.erasures.all_users_claim():
            _erase_all(services, due)
    finally:
        services.erasing.release()


def _erase_all(services: Services, due: Sequence[Erasure]) -> None:
    # Whoever deletes many threads must not have the folder of all session files searched for each of them. A thread
    # that was never used has none.
    with_files = [one.subject_id for one in due if one.kind == THREAD and one.cause != UNUSED]
    files = write_session.files(services.config.server.sessions_dir, with_files)
    for erasure in due:
        try:
            if erase(services, erasure, files.get(erasure.subject_id, ())):
                services.store.erasures.all_users_finish(erasure)
                logger.info("erasure completed", extra={"kind": erasure.kind, "subject_id": erasure.subject_id})
        except (OSError, ThreadhouseError, SQLAlchemyError, redis.RedisError) as error:
            logger.warning("erasure not finished, retrying: %s", error, extra={"erasure_id": erasure.id})
        except Exception:  # those behind it must not wait for it
            logger.exception("erasure not finished, retrying", extra={"erasure_id": erasure.id})


def erase(services: Services, erasure: Erasure, session_files: Sequence[Path]) -> bool:
    """Continue one erasure. Return False while a worker still has a claim on something of it."""
    if erasure.kind == USER:
        return erase_user(services, erasure)
    thread_id, log = erasure.subject_id, services.log
    if erasure.cause == AGE:  # no request was there to tell the clients that show it
        log.publish([log.batch(thread_id, erasure.owner, [Event("thread/deleted", {"threadId": thread_id})])])
    _count_and_remove(services, erasure, "events", lambda: log.count(thread_id), lambda: log.delete(thread_id))
    _count_and_remove_folder(services, erasure, thread_id)
    _count_and_remove_feedback(services, erasure, thread_id)

    def unlink() -> None:
        for file in session_files:
            file.unlink(missing_ok=True)

    _count_and_remove(services, erasure, "session_files", lambda: len(session_files), unlink)
    return True


def erase_user(services: Services, erasure: Erasure) -> bool:
    """Remove all threads of a user, then the rows of other kinds, then the folder of the workspaces."""
    store, owner = services.store, erasure.owner
    while thread_ids := store.erasures.all_users_threads(owner):
        for thread_id in thread_ids:
            try:
                turn = store.turns.interrupt(thread_id, owner, None)
            except InvalidRequest:  # no turn runs in it
                pass
            else:
                turn_signals.publish(services.redis, turn_signals.INTERRUPT, turn.id)
            store.erasures.all_users_erase_thread(thread_id, USER_DELETED)
    rows_are_gone = store.erasures.all_users_erase_rows(erasure)
    if rows_are_gone:
        _count_and_remove_folder(services, erasure, None)
        _count_and_remove_feedback(services, erasure, None)
    return rows_are_gone


def _count_and_remove_folder(services: Services, erasure: Erasure, thread_id: str | None) -> None:
    root: Path = services.config.server.workspaces_dir
    _count_and_remove(
        services,
        erasure,
        "workspace_files" if thread_id else "other_workspace_files",
        lambda: count_files(root, erasure.owner, thread_id),
        lambda: remove_workspace(root, erasure.owner, thread_id),
    )


def _count_and_remove_feedback(services: Services, erasure: Erasure, thread_id: str | None) -> None:
    reports = services.store.feedback.all_users_of(erasure.owner, thread_id)
    name = "feedback" if thread_id else "other_feedback"
    _count_and_remove(services, erasure, name, lambda: len(reports), lambda: process_feedback.remove(services, reports))


def _count_and_remove(
    services: Services, erasure: Erasure, name: str, count: Callable[[], int], remove: Callable[[], None]
) -> None:
    """Store the count before anything is removed, because a repeated attempt finds less."""
    if found := count():
        services.store.erasures.all_users_record_counts(erasure, {name: found})
    remove()
