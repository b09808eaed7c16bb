"""What is true: one object a process, one attribute a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.store.approvals import Approvals
from shared.store.archives import Archives
from shared.store.audit import Audit
from shared.store.connection import Database
from shared.store.erasures import Erasures
from shared.store.feedback import Feedback
from shared.store.histories import Histories
from shared.store.items import Items
from shared.store.limits import UserLimits
from shared.store.outbox import Outbox
from shared.store.steps import Step, read_step
from shared.store.threads import Threads
from shared.store.turns import Claim, Turns
from shared.store.usage import Usage
from shared.store.user_configs import UserConfigs
from shared.store.users import Users
from shared.store.workspaces import Workspaces
from shared.store.writes import Announced, Write, commit


class Store:
    """All records over one database. Calls that a request can reach take `owner`."""

    def __init__(self, url: str, listeners: Mapping[str, Sequence[str]] | None = None) -> None:
        """listeners: who is told of what happens (shared.store.outbox); None: nobody."""
        self.database = Database(url)
        self.outbox = Outbox(self.database, listeners or {})
        self.feedback = Feedback(self.database, self.outbox)
        self.threads = Threads(self.database)
        self.turns = Turns(self.database, self.outbox)
        self.items = Items(self.database)
        self.histories = Histories(self.database)
        self.approvals = Approvals(self.database)
        self.users = Users(self.database)
        self.usage = Usage(self.database)
        self.limits = UserLimits(self.database)
        self.user_configs = UserConfigs(self.database)
        self.audit = Audit(self.database)
        self.workspaces = Workspaces(self.database)
        self.archives = Archives(self.database)
        self.erasures = Erasures(self.database)

    def commit(self, writes: Sequence[Write], announced: Announced) -> list[str]:
        """Store what turns have written (shared.store.writes)."""
        return commit(self.database, self.outbox, writes, announced)

    def read_step(self, claim: Claim) -> Step:
        """What a step of a held turn starts from (shared.store.steps)."""
        return read_step(self.database, claim)

    def close(self) -> None:
        self.database.close()
