"""What comes before the first step of a thread that begins with code: its workspace, told as a command of the turn."""

from __future__ import annotations

import shlex
import time
from typing import Any

from shared.config import Config
from shared.protocol.notifications import OUTPUT_DELTA
from shared.protocol.turn import turn_error
from shared.store import Store
from shared.store.workspaces import READY
from workers.agent.signal import Signal
from workers.agent.stops import Stop, TurnFailed
from workers.agent.transcript import Transcript
from workers.sources import making
from workers.tools.exec_command import begun_item

SAY_SECONDS = 0.5  # between two lines of progress


def make_workspace(config: Config, store: Store, transcript: Transcript, signal: Signal) -> None:
    """Have it made if it is not there. Errors: TurnFailed, with the reason; the other stops; ClaimLost."""
    claim = transcript.claim
    found = store.workspaces.find(claim.thread_id, claim.owner)
    if found is None or found.state == READY:
        return
    words = _shown(found.source, config.workspaces.git_depth)
    cwd = config.server.workspaces_dir / claim.owner / claim.thread_id
    item = begun_item(words, shlex.join(words), cwd, "agent")
    item_id = transcript.begin_item("commandExecution", item)
    progress = _Progress(transcript, item_id)

    def end(why: str | None = None) -> None:
        if why is not None:
            progress.add(why)
        values: dict[str, Any] = {"status": "completed" if why is None else "failed", "exitCode": int(why is not None)}
        values |= {"aggregatedOutput": progress.said, "durationMs": progress.elapsed_ms()}
        transcript.complete_later(item_id, {**item, **values})

    try:
        making.make(config, store, claim.thread_id, claim.owner, signal, progress.say)
    except making.Failed as failure:
        end(str(failure))
        raise TurnFailed(turn_error(f"the workspace cannot be made: {failure}", "badRequest")) from failure
    except Stop:
        end("stopped before it was done")
        raise
    end()


def _shown(source: dict[str, Any], depth: int) -> list[str]:
    """A command line that says what is done, in words that people know."""
    if "gitUrl" in source:
        history = [f"--depth={depth}"] if depth else []
        branch = ["--branch", source["ref"]] if source.get("ref") else []
        return ["git", "clone", *history, *branch, source["gitUrl"], "."]
    if "archive" in source:
        return ["unpack", source["archive"], "."]
    return ["cp", "-a", f"../{source['forkOf']}/.", "."]


class _Progress:
    """Lines of progress as output of the item, not too many of them."""

    def __init__(self, transcript: Transcript, item_id: str) -> None:
        self._transcript = transcript
        self._item_id = item_id
        self._began_at = time.monotonic()
        self._said_at = 0.0
        self.said = ""

    def say(self, line: str) -> None:
        now = time.monotonic()
        if now - self._said_at >= SAY_SECONDS:
            self._said_at = now
            self.add(line)

    def add(self, line: str) -> None:
        self.said += line + "\n"
        self._transcript.say_delta(OUTPUT_DELTA, self._item_id, line + "\n")

    def elapsed_ms(self) -> int:
        return round((time.monotonic() - self._began_at) * 1000)
