"""Command sessions: the commands of one turn that may run on after the tool call that started them.

A session whose command still runs when the turn ends may become a background terminal (workers.terminals).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.errors import ToolError
from shared.protocol.items import CommandExecution
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.output import count_tokens
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import Process

MAX_SESSIONS = 16  # of one turn, that run
MAX_ENDED_SESSIONS = 16  # of one turn, whose end the model has not read; the oldest are forgotten
UNREAD_TOKENS = 2000  # of unread output in the summary of a session that the worker ended
BY_USER = "request"  # why a command was ended that a client asked to end


class OutputRoute:
    """Where the output of a command goes: to its turn, and to something else when the turn is over.

    May be used from any thread; no text is lost or reordered by a change.
    """

    def __init__(self, receiver: Callable[[str], None] | None) -> None:
        self._receiver = receiver
        self._lock = threading.Lock()
        self._collected: list[str] | None = None

    def __call__(self, text: str) -> None:
        with self._lock:
            if self._collected is not None:
                self._collected.append(text)
            elif self._receiver is not None:
                self._receiver(text)

    def collect(self) -> None:
        """Collect the output here until `release`."""
        with self._lock:
            self._collected = []

    def release(self, receiver: Callable[[str], None] | None = None) -> None:
        """Pass on what was collected, and all further output. receiver: a new one, or None for the same as before."""
        with self._lock:
            self._receiver = receiver or self._receiver
            collected, self._collected = self._collected or [], None
            if collected and self._receiver is not None:
                self._receiver("".join(collected))


@dataclass
class CommandSession:
    """A command that may outlive the call that started it.

    id:        the number that the model knows it by; unique in the thread
    line:      the command line, as the model wrote it
    item:      its commandExecution item as it began (PROTOCOL 3.3)
    completed: whether `ended_item` has been called
    """

    id: int
    process: Process
    line: str
    item_id: str
    item: CommandExecution
    output: OutputRoute
    completed: bool = False

    def ended_item(self) -> CommandExecution:
        """Return the item as it ended, and mark the session as completed."""
        self.completed = True
        stopped = self.process.stopped_by
        text = self.process.output.text()
        return {
            **self.item,
            "processId": str(self.id),
            "source": "unifiedExecStartup",
            "status": "completed" if self.process.exit_code == 0 and stopped is None else "failed",
            "aggregatedOutput": (text or None) if stopped == BY_USER else text,
            "exitCode": -1 if stopped == BY_USER else self.process.exit_code,
            "durationMs": round(self.process.duration_s * 1000),
        }

    def report(self, waited_s: float, max_output_tokens: int) -> str:
        """Return how the command stands, and its output since the last report, in the format that models know."""
        ended = self.process.ended
        output = self.process.pop_unread()
        state = self.ending() if ended else f"Process running with session ID {self.id}"
        lines = [
            f"Chunk ID: {secrets.token_hex(3)}",
            f"Wall time: {waited_s:.4f} seconds",
            state,
            f"Original token count: {count_tokens(output.total_bytes)}",
            "Output so far:" if ended and self.process.stopped_by else "Output:",
            output.shortened(max_output_tokens),
        ]
        return "\n".join(lines)

    def ending(self) -> str:
        """Return how the command ended, as a sentence for the model."""
        if self.process.stopped_by is None:
            return f"Process exited with code {self.process.exit_code}"
        return f"Process stopped by {self.process.stopped_by} after {self.process.duration_s:.1f} s"

    def summary(self, *, with_output: bool = False) -> str:
        """Return what the model must know of the end. with_output: also the output that it has not read."""
        summary = f"Session {self.id} ({self.item['command']}): {self.ending()}"
        unread = self.process.pop_unread() if with_output else None
        if unread is None or not unread.total_bytes:
            return summary
        return f"{summary}\nOutput:\n{unread.shortened(UNREAD_TOKENS)}"


@dataclass(frozen=True, slots=True)
class EndedCommand:
    """A session's command that ended.

    item_id, item: the item to complete, and what with
    summary:       what the model is to read about it
    """

    item_id: str
    item: CommandExecution
    summary: str


@dataclass
class CommandSessions:
    """The command sessions of one turn. Calls that run side by side start and forget them; the rest is the turn's own.

    authority: see Process; it says how long the turn still belongs to this worker
    """

    limits: CommandLimits = field(default_factory=CommandLimits)
    authority: Callable[[], float] | None = None
    _open: dict[int, CommandSession] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(
        self,
        argv: Sequence[str],
        *,
        session_id: int,
        cwd: Path,
        policy: SandboxPolicy,
        item_id: str,
        item: CommandExecution,
        env: Mapping[str, str | None] | None = None,
        tty: bool = False,
        on_output: Callable[[str], None] | None = None,
    ) -> CommandSession:
        """Start a command as a session. argv: its last word is the command line.

        Errors: ToolError when MAX_SESSIONS run already
        """
        spec = CommandSpec(argv=argv, cwd=cwd, policy=policy, limits=self.limits, tty=tty, env=env or {})
        with self._lock:
            self._forget_unread()
            if sum(not session.process.ended for session in self._open.values()) >= MAX_SESSIONS:
                raise ToolError(f"{MAX_SESSIONS} commands are running already; end one first")
            output = OutputRoute(on_output)
            process = Process(spec, on_output=output, authority=self.authority)
            session = CommandSession(session_id, process, argv[-1], item_id, item, output)
            self._open[session_id] = session
        return session

    def find(self, session_id: int) -> CommandSession | None:
        """Return a session of this turn; None: it does not exist, or not any more."""
        return self._open.get(session_id)

    def running(self) -> list[CommandSession]:
        """Return the sessions whose commands run, oldest first."""
        return [session for session in self._open.values() if not session.process.ended]

    def _forget_unread(self) -> None:
        """Remove the oldest sessions whose end was reported as an item, and which the model does not read."""
        unread = [number for number, session in self._open.items() if session.completed]
        for number in unread[:-MAX_ENDED_SESSIONS]:
            del self._open[number]

    def forget(self, session: CommandSession) -> None:
        """Remove a session whose end the model has read, or that the background terminals have taken over."""
        with self._lock:
            del self._open[session.id]

    def pop_ended(self) -> list[EndedCommand]:
        """Return the commands that ended since the last call. Each remains a session until the model reads its end."""
        ended = [session for session in self._open.values() if session.process.ended and not session.completed]
        return [EndedCommand(session.item_id, session.ended_item(), session.summary()) for session in ended]

    def close_all(self, reason: str) -> list[EndedCommand]:
        """End all commands and wait until they are dead. Return those whose item is still open."""
        return self.close(list(self._open.values()), reason)

    def close(self, sessions: Sequence[CommandSession], reason: str) -> list[EndedCommand]:
        """End some of the commands and wait until they are dead. Return those whose item is still open."""
        for session in sessions:
            del self._open[session.id]
        for session in sessions:
            session.process.terminate(reason)
        for session in sessions:
            session.process.wait()
        return [
            EndedCommand(session.item_id, session.ended_item(), session.summary(with_output=True))
            for session in sessions
            if not session.completed
        ]
