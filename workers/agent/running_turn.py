"""A turn that runs in this process, and everything that its steps need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import redis

from shared.config import Config
from shared.config.client_mcp_servers import McpTables
from shared.config.mcp_servers import McpServer
from shared.config.model_catalogue import context_window
from shared.protocol.rate_limits import RateLimitSnapshot
from shared.store import Store
from workers.agent.transcript import Transcript
from workers.control.signal import Signal
from workers.sandbox.sessions import CommandSessions
from workers.terminals.running import RunningTerminals
from workers.tools.base import BackgroundTerminals

if TYPE_CHECKING:
    from workers.agent.turn_hooks import TurnHooks
    from workers.mcp.offered_tools import OfferedTools
    from workers.mcp.pool import McpPool


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
    commands:              Redis, for what users may do per minute, and for skills/changed; None: neither
    mcp_pool:              the sessions with MCP servers of this worker; None: threads have none
    mcp_entered:           whether the pool keeps the thread's sessions for this turn
    mcp_servers:           what the thread's servers were read from (the pool's generation, the user's tables), and they
    mcp_tools:             what the servers offer now; None: the thread has no servers
    hooks:                 as of the present step; None: the turn has none
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
    mcp_pool: McpPool | None = None
    mcp_entered: bool = False
    mcp_servers: tuple[tuple[int, McpTables], Mapping[str, McpServer]] | None = None
    mcp_tools: OfferedTools | None = None
    hooks: TurnHooks | None = None

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
