"""The store: all that must outlive a process, in one SQL database. `Store` is built once per process.

One module per record, `tables.py` with the columns, `schema/` with the migrations. May import shared.config,
shared.protocol and the leaves of shared (errors, ids, clock, event_names); knows neither Redis nor Celery.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from shared.store.alerts import Alerts
from shared.store.approvals import Approvals
from shared.store.archives import Archives
from shared.store.audit import Audit
from shared.store.backlogs import Backlogs
from shared.store.connection import Database
from shared.store.erasures import Erasures
from shared.store.feedback import Feedback
from shared.store.histories import Histories
from shared.store.items import Item, Items
from shared.store.limits import UserLimits
from shared.store.mcp_logins import McpLogins
from shared.store.outbox import Outbox
from shared.store.own_workspace import OPTION
from shared.store.searches import Searches
from shared.store.sessions import Sessions
from shared.store.steps import Step, read_step
from shared.store.terminals import Terminals
from shared.store.thread_shares import ThreadShares
from shared.store.threads import Threads
from shared.store.turns import Claim
from shared.store.turns.claims import Claims
from shared.store.turns.ended_turns import EndedTurns
from shared.store.turns.open_turns import OpenTurns
from shared.store.turns.recovery import Recovery
from shared.store.turns.requests import Turns
from shared.store.usage import Usage
from shared.store.user_configs import UserConfigs
from shared.store.users import Users
from shared.store.workers import Workers
from shared.store.workspaces import Workspaces
from shared.store.writes import Published, Write, commit


class Store:
    """All records of one database, one attribute each. Methods that a request can reach take `owner`."""

    def __init__(
        self,
        url: str,
        listeners: Mapping[str, Sequence[str]] | None = None,
        open_database: Callable[[str], Database] = Database,
        *,
        workspaces_dir: Path | None = None,
    ) -> None:
        """Open the database.

        listeners:      event → targets (shared.store.outbox); None: no targets
        workspaces_dir: where this server has its workspaces; None: leave their paths as they were stored
        """
        self.database = open_database(url)
        if workspaces_dir is not None:
            self.database.set_option(OPTION, str(workspaces_dir))
        self.backlogs = Backlogs(self.database)
        self.outbox = Outbox(self.database, listeners or {})
        self.feedback = Feedback(self.database, self.outbox)
        self.threads = Threads(self.database)
        self.searches = Searches(self.database, self.threads)
        self.turns = Turns(self.database, self.outbox)
        self.claims = Claims(self.database, self.outbox)
        self.recovery = Recovery(self.database, self.outbox)
        self.open_turns = OpenTurns(self.database)
        self.ended_turns = EndedTurns(self.database)
        self.items = Items(self.database)
        self.terminals = Terminals(self.database)
        self.histories = Histories(self.database)
        self.approvals = Approvals(self.database)
        self.users = Users(self.database)
        self.sessions = Sessions(self.database)
        self.thread_shares = ThreadShares(self.database)
        self.usage = Usage(self.database)
        self.limits = UserLimits(self.database)
        self.user_configs = UserConfigs(self.database)
        self.mcp_logins = McpLogins(self.database)
        self.audit = Audit(self.database)
        self.workspaces = Workspaces(self.database)
        self.archives = Archives(self.database)
        self.erasures = Erasures(self.database)
        self.workers = Workers(self.database)
        self.alerts = Alerts(self.database)

    def commit(self, writes: Sequence[Write], published: Published, *, repeated: bool = False) -> list[str]:
        """Store the writes of turns in one transaction (shared.store.writes)."""
        return commit(self.database, self.outbox, writes, published, repeated=repeated)

    def read_step(self, claim: Claim, history_limit: int = 0, known: Item | None = None) -> Step:
        """Read what a step of a claimed turn starts from (shared.store.steps)."""
        return read_step(self.database, claim, history_limit, known)

    def close(self) -> None:
        self.database.close()
