"""Ask a worker which AGENTS.md files a thread's model gets, and how its project is configured.

The API itself opens no folder of a project.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import redis

from api.requests.context import Context
from api.requests.project_config import Project
from api.requests.worker_calls import call_worker
from shared.errors import CallLost, RequestError, Unavailable
from shared.event_names import worker_channel
from shared.events.log import Event
from shared.protocol.settings import SettingsChanges, ThreadSettings

SECONDS = 1.0  # a thread begins without the answer of a worker that is busy
FILES = ("AGENTS.override.md", "AGENTS.md")  # of the server's home


@dataclass(frozen=True, slots=True)
class FoundInstructions:
    """What a worker found.

    sources: None when none answered
    project: the configuration of the project; None: there is no folder, or an earlier release's worker answered
    """

    sources: Sequence[str] | None
    warnings: Sequence[str] = ()
    project: Project | None = None

    @property
    def changes(self) -> SettingsChanges:
        """Return the setting that keeps what the client gets to see."""
        return {} if self.sources is None else {"instructionSources": self.sources}

    def warn(self, ctx: Context, thread_id: str, more: Sequence[str] = ()) -> None:
        """Send the warnings, and more of them, after the reply."""
        for warning in (*self.warnings, *more):
            ctx.after_reply(ctx.publish, thread_id, Event("warning", {"threadId": thread_id, "message": warning}))


def find_instructions(ctx: Context, settings: ThreadSettings, *, has_folder: bool) -> FoundInstructions:
    """Return what a worker finds. has_folder: the folder exists; if not, only the home's file is looked for."""
    if not has_folder and not any((ctx.config.home / name).exists() for name in FILES):
        return FoundInstructions([])
    own = {name: settings.get(name) for name in ("projectDocMaxBytes", "projectDocFallbackFilenames")}
    params = {"cwd": settings["cwd"] if has_folder else None, "settings": own}
    try:
        if not ctx.services.redis.pubsub_channels(worker_channel("*")):
            return FoundInstructions(None)
        result = call_worker(ctx, "instructions", params, deadline_s=SECONDS, in_order=True)
    except (RequestError, Unavailable, CallLost, redis.RedisError, RuntimeError):  # RuntimeError: an internal error
        return FoundInstructions(None)
    return FoundInstructions(result["sources"], result["warnings"], Project.of(result))
