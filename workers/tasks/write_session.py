"""session.write: a thread as a Codex rollout file, in the folder of session files."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from shared import rollout
from shared.ids import new_id
from shared.store import Store
from shared.store.histories import History
from workers.services import Services

logger = logging.getLogger(__name__)


def run(services: Services, thread_id: str) -> None:
    """Bring a thread's file to what the database has.

    Takes:    the thread whose turn has ended, or that was named, archived or deleted
    Leaves:   <sessions_dir>/YYYY/MM/DD/rollout-….jsonl with the turns that have ended, readable by us alone; of an
              archived thread archived_sessions/rollout-….jsonl beside that folder; of a deleted one nothing; of an
              ephemeral one nothing ever. A file in which `codex resume` went on is left as it is.
    Twice:    harmless, also at once: a file takes its place while its thread is held and is as it was read
    Retries:  the sweep asks again a minute later
    """
    sessions_dir = services.config.server.sessions_dir
    if sessions_dir is not None:
        while not write(services.store, sessions_dir, thread_id):
            pass


def write(store: Store, sessions_dir: Path, thread_id: str) -> bool:
    """False: the thread changed meanwhile."""
    archive = sessions_dir.parent / "archived_sessions"
    history = store.histories.all_users_find(thread_id)
    if history is None:
        for path in files(sessions_dir, thread_id):
            path.unlink(missing_ok=True)
        return True
    thread = history.thread
    if thread.ephemeral or not history.turns:
        return True
    name = rollout.file_name(thread)
    path, other = sessions_dir / name, archive / name.name
    if thread.archived_at_ms is not None:
        path, other = other, path
    if any(has_gone_on(file, history) for file in (path, other)):
        with store.histories.all_users_hold(history) as unchanged:
            if unchanged:
                told = (
                    "a session file has turns from elsewhere and is left as it is; `threadhouse import` takes them in"
                )
                logger.warning(told, extra={"thread_id": thread_id})
        return unchanged
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.parent / f".{new_id()}.tmp"
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.writelines(rollout.write(history))
        with store.histories.all_users_hold(history) as unchanged:
            if unchanged:
                os.replace(draft, path)
                other.unlink(missing_ok=True)
            return unchanged
    finally:
        draft.unlink(missing_ok=True)


def files(sessions_dir: Path | None, thread_id: str) -> list[Path]:
    """The files that a thread has, wherever they lie."""
    if sessions_dir is None:
        return []
    folders = (sessions_dir, sessions_dir.parent / "archived_sessions")
    return [path for folder in folders for path in folder.rglob(f"rollout-*-{thread_id}.jsonl")]


def has_gone_on(path: Path, history: History) -> bool:
    """Whether a file has turns that the thread has not."""
    try:
        with path.open("rb") as file:
            return not rollout.turn_ids(file) <= {turn.id for turn in history.turns}
    except FileNotFoundError:
        return False
