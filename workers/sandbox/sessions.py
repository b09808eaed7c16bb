"""The commands of one turn that go on between its calls."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.errors import ToolError
from workers.sandbox.limits import CommandLimits
from workers.sandbox.output import shorten
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import Process

MAX_SESSIONS = 16  # of one turn
UNREAD_TOKENS = 2000  # of output that the model is told when a session is ended for it


@dataclass
class Session:
    """A command that may outlive the call that started it.

    item:      its commandExecution item as it began (PROTOCOL 3.3)
    completed: whether the end of that item has been handed out
    """

    id: int
    process: Process
    item_id: str
    item: dict[str, Any]
    completed: bool = False

    def ended_item(self) -> dict[str, Any]:
        """The item as it ended."""
        self.completed = True
        succeeded = self.process.exit_code == 0 and self.process.stopped_by is None
        return {
            **self.item,
            "processId": str(self.id),
            "source": "unifiedExecStartup",
            "status": "completed" if succeeded else "failed",
            "aggregatedOutput": self.process.output.text(),
            "exitCode": self.process.exit_code,
            "durationMs": round(self.process.duration_s * 1000),
        }

    def ending(self) -> str:
        """How it ended, in words for the model."""
        if self.process.stopped_by is None:
            return f"Process exited with code {self.process.exit_code}"
        return f"Process stopped by {self.process.stopped_by} after {self.process.duration_s:.1f} s"


@dataclass(frozen=True, slots=True)
class Ended:
    """A session's command that ended: complete item_id with item; tell the model `told`."""

    item_id: str
    item: dict[str, Any]
    told: str


@dataclass
class Sessions:
    """The commands of one turn that go on between its calls. Used by the turn's own thread.

    may_begin: as of Process: whether the turn is still this worker's
    """

    limits: CommandLimits = field(default_factory=CommandLimits)
    may_begin: Callable[[], bool] | None = None
    _open: dict[int, Session] = field(default_factory=dict)

    def start(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        policy: SandboxPolicy,
        item_id: str,
        item: dict[str, Any],
        tty: bool = False,
        on_output: Callable[[str], None] | None = None,
    ) -> Session:
        """Start a command as a session; ToolError when MAX_SESSIONS go on already."""
        if sum(not session.process.ended for session in self._open.values()) >= MAX_SESSIONS:
            raise ToolError(f"{MAX_SESSIONS} commands are running already; end one first")
        process = Process(
            argv,
            cwd=cwd,
            policy=policy,
            limits=self.limits,
            tty=tty,
            on_output=on_output,
            may_begin=self.may_begin,
        )
        number = random.randrange(1000, 100_000)
        while number in self._open:
            number = random.randrange(1000, 100_000)
        session = self._open[number] = Session(number, process, item_id, item)
        return session

    def get(self, session_id: int) -> Session:
        """The session of that number; ToolError when there is none (any more)."""
        if session_id not in self._open:
            raise ToolError(f"no session {session_id}: it has ended, or never was")
        return self._open[session_id]

    def forget(self, session: Session) -> None:
        """Drop a session whose end the model has been told."""
        del self._open[session.id]

    def reap(self) -> list[Ended]:
        """Commands that ended since the last time; each remains a session until the model reads its end."""
        ended = [one for one in self._open.values() if one.process.ended and not one.completed]
        return [Ended(one.item_id, one.ended_item(), _told(one)) for one in ended]

    def close_all(self, reason: str) -> list[Ended]:
        """End all commands and wait until they are dead; those whose item is still open."""
        sessions, self._open = list(self._open.values()), {}
        for session in sessions:
            session.process.terminate(reason)
        for session in sessions:
            session.process.wait()
        return [
            Ended(one.item_id, one.ended_item(), _told(one, one.process.take().text()))
            for one in sessions
            if not one.completed
        ]


def _told(session: Session, unread: str = "") -> str:
    told = f"Session {session.id} ({session.item['command']}): {session.ending()}"
    return f"{told}\nOutput:\n{shorten(unread, UNREAD_TOKENS)}" if unread else told
