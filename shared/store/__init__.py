"""What is true: one object a process, one attribute a record."""

from __future__ import annotations

from shared.store.approvals import Approvals
from shared.store.audit import Audit
from shared.store.connection import Database
from shared.store.items import Items
from shared.store.threads import Threads
from shared.store.turns import Turns
from shared.store.users import Users


class Store:
    """All records over one database. Calls that a request can reach take `owner`."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.threads = Threads(self.database)
        self.turns = Turns(self.database)
        self.items = Items(self.database)
        self.approvals = Approvals(self.database)
        self.users = Users(self.database)
        self.audit = Audit(self.database)

    def close(self) -> None:
        self.database.close()
