"""session.write: write a thread as a Codex rollout file to the folder of session files."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from shared import queue, rollout
from shared.ids import new_id
from shared.store import Store
from shared.store.turns import Turn
from workers.services import Services

NAME = queue.WRITE_SESSION
logger = logging.getLogger(__name__)


def run(services: Services, thread_id: str) -> None:
    """Bring a thread's file up to date with the database.

    Args:        the thread whose turn has ended, or that was named, archived or deleted
    Effect:      <sessions_dir>/YYYY/MM/DD/rollout-….jsonl has the turns that have ended, readable by the server's user
                 only; an archived thread has archived_sessions/rollout-….jsonl beside that folder; a deleted or
                 ephemeral thread has no file. A file that `codex resume` has continued is not changed.
    Redelivery:  harmless, even in parallel: a file is replaced while its thread is locked and unchanged since it was
                 read
    Retries:     the sweep enqueues the task again a minute later
    """
    sessions_dir = services.config.server.sessions_dir
    if sessions_dir is not None:
        while not write(services.store, sessions_dir, thread_id):
            pass


def write(store: Store, sessions_dir: Path, thread_id: str) -> bool:
    """Write the file once. Return False when the thread changed meanwhile."""
    archive = sessions_dir.parent / "archived_sessions"
    found = store.histories.all_users_find(thread_id)
    if found is None:
        for path in files(sessions_dir, thread_id):
            path.unlink(missing_ok=True)
        return True
    thread, turns = found
    if thread.ephemeral or not turns:
        return True
    name = rollout.file_name(thread)
    path, other = sessions_dir / name, archive / name.name
    if thread.archived_at_ms is not None:
        path, other = other, path
    if any(has_foreign_turns(file, turns) for file in (path, other)):
        with store.histories.all_users_lock(thread) as unchanged:
            if unchanged:
                logger.warning(
                    "session file not written, it has turns from elsewhere: run `threadhouse import` to add them",
                    extra={"thread_id": thread_id},
                )
        return unchanged
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.parent / f".{new_id()}.tmp"
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.writelines(rollout.write(thread, turns, store.items.of_turn))
        with store.histories.all_users_lock(thread) as unchanged:
            if unchanged:
                os.replace(draft, path)
                other.unlink(missing_ok=True)
            return unchanged
    finally:
        draft.unlink(missing_ok=True)


def files(sessions_dir: Path | None, thread_id: str) -> list[Path]:
    """Return all session files of a thread."""
    if sessions_dir is None:
        return []
    folders = (sessions_dir, sessions_dir.parent / "archived_sessions")
    return [path for folder in folders for path in folder.rglob(f"rollout-*-{thread_id}.jsonl")]


def has_foreign_turns(path: Path, turns: Sequence[Turn]) -> bool:
    """Return whether a file has turns that the thread does not have."""
    try:
        with path.open("rb") as file:
            return not rollout.turn_ids(file) <= {turn.id for turn in turns}
    except FileNotFoundError:
        return False
