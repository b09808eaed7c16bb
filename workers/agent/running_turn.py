"""A turn that runs in this process, and everything that its steps need."""

from __future__ import annotations

from dataclasses import dataclass, field

import redis

from shared.config import Config
from shared.config.model_catalogue import context_window
from shared.protocol.rate_limits import RateLimitSnapshot
from shared.store import Store
from workers.agent.transcript import Transcript
from workers.control.signal import Signal
from workers.sandbox.sessions import CommandSessions
from workers.terminals.running import RunningTerminals
from workers.tools.base import BackgroundTerminals


@dataclass
class RunningTurn:
    """One attempt to run a turn, from its claim until it ends, parks or is requeued.

    terminals:             the commands of earlier turns that still run; None: there are none
    keeper:                takes over commands that run on; None: none may
    failures:              of the model since its last complete answer
    has_left_out:          whether items that the model's provider refused were left out since then
    published_rate_limits: what this attempt published to clients
    warned:                periods of token budgets that this attempt warned about
    has_workspace:         whether the thread's workspace is made
    commands:              Redis, which counts what users may do per minute; None: nothing is counted
    """

    config: Config
    store: Store
    transcript: Transcript
    signal: Signal
    sessions: CommandSessions = field(default_factory=CommandSessions)
    terminals: BackgroundTerminals | None = None
    keeper: RunningTerminals | None = None
    failures: int = 0
    has_left_out: bool = False
    published_rate_limits: RateLimitSnapshot | None = None
    warned: set[str] = field(default_factory=set)
    has_workspace: bool = False
    commands: redis.Redis | None = None

    def answered(self) -> None:
        """Note a complete answer of the model."""
        self.failures, self.has_left_out = 0, False

    @property
    def kind(self) -> str:
        """ "regular", "compact", "shell" or "review"."""
        return str(self.transcript.claim.turn.options.get("kind", "regular"))

    @property
    def context_window(self) -> int:
        """Tokens that the thread's model can take."""
        return self.config.model_context_window or context_window(self.transcript.settings["model"])
