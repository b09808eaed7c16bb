"""What comes before a turn's first request: its workspace, which clients see as a command, and the model's context."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from pathlib import Path

from shared.config import Config
from shared.errors import ToolError
from shared.events import skill_changes
from shared.protocol.items import CommandExecution
from shared.protocol.notifications import OUTPUT_DELTA
from shared.protocol.turn import turn_error
from shared.store import Store
from shared.store.workspaces import READY
from workers.agent import prompt
from workers.agent.running_turn import RunningTurn
from workers.agent.transcript import Transcript
from workers.control.signal import Signal
from workers.control.stops import Stop, TurnFailed
from workers.sandbox import skill_folders
from workers.sources import workspace_maker
from workers.tools.base import ToolContext
from workers.tools.exec_command import begun_item
from workers.workspace import instructions, skills
from workers.workspace.folders import git_info
from workers.workspace.instructions import Instructions
from workers.workspace.skills import Skills

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


def add_missing_context(turn: RunningTurn, ctx: ToolContext) -> Skills | None:
    """Add what the model must read before it goes on, and warn the user of instructions that it does not get.

    Instruction files and skills are read when the user has sent something, so that the model knows what was edited
    meanwhile. Return the skills; None: they were not looked for.
    """
    config, transcript = turn.config, turn.transcript
    settings = transcript.settings
    has_context = any(row.kind == "context" for row in transcript.rows)
    root = prompt.readable_root(ctx)
    found, found_skills = None, None
    if transcript.pending_inputs or not has_context:
        found, found_skills = _read_project(config, transcript, ctx, root)
    policy = settings["approvalPolicy"]
    missing = prompt.missing_context(
        transcript.rows,
        ctx,
        policy if isinstance(policy, str) else "granular",
        found,
        found_skills,
        turn.context_window,
    )
    if not (messages := missing.messages()):
        return found_skills
    transcript.add_context(messages, git_info(ctx.cwd, root))
    if missing.skills_changed and turn.commands is not None:
        skill_changes.publish(turn.commands, transcript.claim.owner)
    is_told = not has_context and settings.get("instructionSources") is not None
    if found is not None and missing.instructions is not None and not is_told:
        for warning in found.warnings:
            transcript.writer.publish("warning", {"message": warning})
    return found_skills


def _read_project(
    config: Config, transcript: Transcript, ctx: ToolContext, root: Path
) -> tuple[Instructions | None, Skills | None]:
    """Return the instructions and the skills of the thread's folder, read in one request to the tool runner."""
    owner, limits = transcript.claim.owner, instructions.Limits.of(config, transcript.settings)
    workspace = root if ctx.sandbox.readable_roots else None
    roots = skills.roots(config, owner, transcript.skill_settings, workspace)
    try:
        nearest, found = skill_folders.read_project(
            root, ctx.cwd, limits.names, limits.max_bytes, roots, skills.hidden_folders(config)
        )
    except ToolError:  # a tool runner of an earlier release
        return instructions.read(config.home, ctx.cwd, root, limits), None
    return (
        instructions.of_files(config.home, ctx.cwd, limits, nearest),
        Skills.of(found, config, transcript.skill_settings),
    )


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
