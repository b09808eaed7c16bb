"""session.write: write a thread as a Codex rollout file to the folder of session files."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from shared import queue, rollout
from shared.ids import new_id
from shared.store import Store
from shared.store.outages import is_outage
from shared.store.threads import SESSION_DELAY_MS
from workers.services import Services

NAME = queue.WRITE_SESSION
ID_CHARACTERS = 36  # at the end of a file's name
PAUSES = 10  # times as long as it was written a file waits, while its thread goes on: a long thread costs no more
logger = logging.getLogger(__name__)


def run(services: Services, *thread_ids: str) -> None:
    """Bring the files of threads up to date with the database.

    Args:        threads whose turns have ended, or that were named or archived
    Effect:      <sessions_dir>/YYYY/MM/DD/rollout-….jsonl has the turns that have ended, readable by the server's user
                 only; an archived thread has archived_sessions/rollout-….jsonl beside that folder; a thread without
                 turns and an ephemeral one have no file. A file that `codex resume` has continued is not changed.
    Redelivery:  harmless, even in parallel: a file is replaced while its thread is locked, and by no older state
    Retries:     the sweep enqueues a thread again a minute later, and one that has changed meanwhile after PAUSES times
                 the time that this took
    """
    if services.config.server.sessions_dir is None:
        return
    for thread_id in thread_ids:
        try:
            write(services.store, services.config.server.sessions_dir, thread_id)
        except Exception as error:  # one thread must not hold up the others
            if is_outage(error):
                raise
            logger.exception("session file not written, it is tried again", extra={"thread_id": thread_id})


def write(store: Store, sessions_dir: Path, thread_id: str) -> None:
    """Write the file once."""
    began_at, archive = time.monotonic(), sessions_dir.parent / "archived_sessions"
    version, found = store.histories.all_users_version(thread_id), store.histories.all_users_find(thread_id)
    if version is None or found is None:  # its erasure removes the file
        return
    thread, turns = found
    name = rollout.file_name(thread)
    path, other = sessions_dir / name, archive / name.name
    if version.archived_at_ms is not None:
        path, other = other, path
    known = {*(turn.id for turn in turns), *(version.reverted_turns or ())}
    if any(has_foreign_turns(file, known) for file in (path, other)):
        with store.histories.all_users_lock(thread_id, version, again_ms=SESSION_DELAY_MS, is_written=False) as now:
            if now == version:
                logger.warning(
                    "session file not written, it has turns from elsewhere: run `threadhouse import` to add them",
                    extra={"thread_id": thread_id},
                )
        return
    if thread.ephemeral or not turns:
        with store.histories.all_users_lock(thread_id, version, again_ms=SESSION_DELAY_MS) as now:
            if now == version:
                path.unlink(missing_ok=True)
                other.unlink(missing_ok=True)
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.parent / f".{new_id()}.tmp"
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.writelines(rollout.write(thread, turns, store.items.of_turn))
        os.utime(draft, ns=(version.updated_at_ms * 1_000_000,) * 2)
        again_ms = max(SESSION_DELAY_MS, round(PAUSES * 1000 * (time.monotonic() - began_at)))
        with store.histories.all_users_lock(thread_id, version, again_ms=again_ms) as now:
            if now == version or (
                now is not None and now.archived_at_ms == version.archived_at_ms and _is_newer(draft, path)
            ):
                os.replace(draft, path)
                other.unlink(missing_ok=True)
    finally:
        draft.unlink(missing_ok=True)


def _is_newer(draft: Path, path: Path) -> bool:
    """Return whether a draft has a later state of the thread than the file has."""
    return not path.exists() or path.stat().st_mtime_ns < draft.stat().st_mtime_ns


def files(sessions_dir: Path | None, thread_ids: Sequence[str]) -> dict[str, list[Path]]:
    """Return all session files of threads, of each in a list; the folders are searched once for all."""
    found: dict[str, list[Path]] = {thread_id: [] for thread_id in thread_ids}
    if sessions_dir is None or not found:
        return found
    for folder in (sessions_dir, sessions_dir.parent / "archived_sessions"):
        for path in folder.rglob("rollout-*.jsonl"):
            thread_id = path.stem[-ID_CHARACTERS:]
            if thread_id in found:
                found[thread_id].append(path)
    return found


def has_foreign_turns(path: Path, known: Collection[str]) -> bool:
    """Return whether a file has turns that the thread never had. known: ids of those that it has or had"""
    try:
        with path.open("rb") as file:
            return not rollout.turn_ids(file).issubset(known)
    except FileNotFoundError:
        return False
