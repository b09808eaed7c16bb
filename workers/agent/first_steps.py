"""What comes before a turn's first request: its workspace, which clients see as a command, and the model's context."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping

from shared.config import Config
from shared.protocol.items import CommandExecution
from shared.protocol.model_items import text_message
from shared.protocol.notifications import OUTPUT_DELTA
from shared.protocol.turn import turn_error
from shared.store import Store
from shared.store.workspaces import READY
from workers.agent import prompt
from workers.agent.transcript import Transcript
from workers.control.signal import Signal
from workers.control.stops import Stop, TurnFailed
from workers.sources import workspace_maker
from workers.tools.base import ToolContext
from workers.tools.exec_command import begun_item
from workers.workspace import instructions
from workers.workspace.folders import git_info

PROGRESS_SECONDS = 0.5  # between two lines of progress


def make_workspace(config: Config, store: Store, transcript: Transcript, signal: Signal) -> None:
    """Make the thread's workspace if it is not there.

    Errors: TurnFailed (with the reason), the other stops of workers.control.stops, ClaimLost
    """
    claim = transcript.claim
    workspace = store.workspaces.find(claim.thread_id, claim.owner)
    if workspace is None or workspace.state == READY:
        return
    words = _command_words(workspace.source, config.workspaces.git_depth)
    cwd = config.server.workspaces_dir / claim.owner / claim.thread_id
    item = begun_item(words, shlex.join(words), cwd, "agent")
    item_id = transcript.begin_item("commandExecution", item)
    progress = _Progress(transcript, item_id)

    def end(failure: str | None = None) -> None:
        if failure is not None:
            progress.add(failure)
        ended: CommandExecution = {
            **item,
            "status": "completed" if failure is None else "failed",
            "exitCode": int(failure is not None),
            "aggregatedOutput": progress.output,
            "durationMs": progress.elapsed_ms(),
        }
        transcript.complete_later(item_id, ended)

    try:
        workspace_maker.make_workspace(config, store, claim.thread_id, claim.owner, signal, progress.report)
    except workspace_maker.WorkspaceFailed as failure:
        end(str(failure))
        raise TurnFailed(turn_error(f"the workspace cannot be made: {failure}", "badRequest")) from failure
    except Stop:
        end("stopped before it was done")
        raise
    end()


def add_missing_context(config: Config, transcript: Transcript, ctx: ToolContext) -> None:
    """Add what the model must read before it goes on, and warn the user of instructions that it does not get.

    Instruction files are read when the user has sent something, so that the model knows what was edited meanwhile.
    """
    settings = transcript.settings
    has_context = any(row.kind == "context" for row in transcript.rows)
    root = prompt.readable_root(ctx)
    found = None
    if transcript.pending_inputs or not has_context:
        found = instructions.read(config.home, ctx.cwd, root, instructions.Limits.of(config, settings))
    policy = settings["approvalPolicy"]
    texts = prompt.missing_context(transcript.rows, ctx, policy if isinstance(policy, str) else "granular", found)
    if not texts:
        return
    transcript.add_context([text_message("user", text) for text in texts], git_info(ctx.cwd, root))
    is_told = not has_context and settings.get("instructionSources") is not None
    if found is not None and texts[0].startswith(instructions.HEADING) and not is_told:
        for warning in found.warnings:
            transcript.writer.publish("warning", {"message": warning})


def _command_words(source: Mapping[str, str], depth: int) -> list[str]:
    """Return a command line that describes what is done, in words that people know."""
    if "gitUrl" in source:
        history = [f"--depth={depth}"] if depth else []
        branch = ["--branch", source["ref"]] if source.get("ref") else []
        return ["git", "clone", *history, *branch, source["gitUrl"], "."]
    if "archive" in source:
        return ["unpack", source["archive"], "."]
    return ["cp", "-a", f"../{source['forkOf']}/.", "."]


class _Progress:
    """Lines of progress as output of the item, at most one in PROGRESS_SECONDS."""

    def __init__(self, transcript: Transcript, item_id: str) -> None:
        self._transcript = transcript
        self._item_id = item_id
        self._began_at = time.monotonic()
        self._reported_at = 0.0
        self.output = ""

    def report(self, line: str) -> None:
        """Add a line, unless the last one was added a moment ago."""
        now = time.monotonic()
        if now - self._reported_at >= PROGRESS_SECONDS:
            self._reported_at = now
            self.add(line)

    def add(self, line: str) -> None:
        self.output += line + "\n"
        self._transcript.writer.publish_delta(OUTPUT_DELTA, self._item_id, line + "\n")

    def elapsed_ms(self) -> int:
        return round((time.monotonic() - self._began_at) * 1000)
