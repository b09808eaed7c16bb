"""workspace.make: make a thread's workspace before its first turn needs it, so that a fork copies the present state."""

from __future__ import annotations

import logging

from shared import queue
from shared.errors import ClaimLost, NotFound
from workers.services import Services
from workers.sources import workspace_maker

NAME = queue.MAKE_WORKSPACE
logger = logging.getLogger(__name__)


def run(services: Services, thread_id: str, owner: str) -> None:
    """Make the workspace now, or leave it to those that make others: each user has one at a time made in a process.

    Effect:      the workspace exists, or the thread has the reason why not, and its first turn tries again
    Redelivery:  harmless
    Retries:     none; a process that shuts down enqueues what waits in it again
    """
    unmade = services.unmade_workspaces
    unmade.put(owner, thread_id)
    while (found := unmade.take()) is not None:
        owner, thread_id = found
        try:
            workspace_maker.make_workspace(services.config, services.store, thread_id, owner)
        except (workspace_maker.WorkspaceFailed, NotFound, ClaimLost) as error:
            logger.info("workspace not made: %s", error, extra={"thread_id": thread_id})
        except Exception:  # those behind it must not wait for it
            logger.exception("workspace not made", extra={"thread_id": thread_id})
        finally:
            unmade.done(owner)
