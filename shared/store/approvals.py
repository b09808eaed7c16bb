"""Approvals: requests to a client, stored before they are published and answered once.

A request is stored by `store.claims.park` and answered by `store.turns.answer`, because both also move its turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import and_, insert, literal_column, select, update
from sqlalchemy.engine import Row

from shared.clock import now_ms
from shared.protocol.auto_review import METHOD as REVIEW
from shared.protocol.items import WireItem, wire_item
from shared.protocol.server_requests import TOOL_CALL, USER_INPUT
from shared.store.connection import Database
from shared.store.tables import api_keys, approvals, items, rules, threads


@dataclass(frozen=True, slots=True)
class Approval:
    """One server request (PROTOCOL section 8).

    id:   the request id on the wire, the same on every node
    keys: what "acceptForSession" allows from then on
    """

    id: int
    thread_id: str
    turn_id: str
    item_id: str
    owner: str
    method: str
    params: Mapping[str, object]
    keys: list[str]
    state: str
    answer: Mapping[str, object] | None
    published_state: int

    @property
    def decision(self) -> object:
        """The decision, or None: an answer may be anything that a client sends."""
        return self.answer.get("decision") if isinstance(self.answer, dict) else None

    @property
    def grants_session(self) -> bool:
        """Whether the answer allows `keys` from then on: as a decision, or as an elicitation's `_meta.persist`."""
        if self.decision == "acceptForSession":
            return True
        answer = self.answer if isinstance(self.answer, dict) else {}
        meta = answer.get("_meta")
        persists = isinstance(meta, dict) and meta.get("persist") in ("session", "always")
        return answer.get("action") == "accept" and persists


MAX_DECISION_CHARACTERS = 64
MAX_ANSWER_BYTES = 64 * 1024  # of an answer that decides; each later call of the thread reads them again
FREE_ANSWERS = (USER_INPUT, TOOL_CALL)  # requests whose answers are contents for the model
TIMEOUT = "timeout"  # `via` of an answer that nobody gave in time


@dataclass(frozen=True, slots=True)
class Answered:
    """When and from where a request was answered.

    via: "websocket", "http" or TIMEOUT; None: a node of an earlier version has answered
    key: name of the API key that the answer, or the session of its browser, had
    """

    at_ms: int
    via: str | None
    key: str | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request with what a person needs to answer it, or to see who has.

    name, preview: of its thread
    item:          what it is about, as clients see it; None: they see no such item
    expires_at_ms: when it is declined by itself, if nobody answers
    answered:      None: it is pending
    """

    approval: Approval
    name: str | None
    preview: str
    item: WireItem | None
    created_at_ms: int
    expires_at_ms: int
    answered: Answered | None = None


class Approvals:
    """The approvals table, and the rules that answers added."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pending(self, thread_id: str, owner: str) -> list[Approval]:
        """Return the pending requests of a thread, oldest first."""
        query = select(approvals).where(approvals.c.thread_id == thread_id, approvals.c.owner == owner)
        return self._read(query.where(approvals.c.state == "pending"))

    def waiting(self, owner: str, limit: int) -> list[Waiting]:
        """Return the pending requests of all threads of a user, oldest first."""
        query = _WITH_THREAD.where(approvals.c.owner == owner, approvals.c.state == literal_column("'pending'"))
        with self._database.read() as connection:
            return [_waiting(row) for row in connection.execute(query.order_by(approvals.c.id).limit(limit))]

    def answered(self, owner: str, limit: int) -> list[Waiting]:
        """Return the requests of all threads of a user that were answered, not by a reviewer, the last one first."""
        is_answered = approvals.c.state == literal_column("'answered'")  # literally, as the index has it
        mine = and_(approvals.c.owner == owner, is_answered, approvals.c.method != REVIEW)
        query = _WITH_THREAD.where(mine).order_by(approvals.c.answered_at_ms.desc(), approvals.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            key_ids = {row.answered_by["keyId"] for row in rows if row.answered_by}
            keys = select(api_keys.c.id, api_keys.c.name).where(api_keys.c.user_id == owner, api_keys.c.id.in_(key_ids))
            names = {key.id: key.name for key in connection.execute(keys)} if key_ids else {}
        return [replace(_waiting(row), answered=_answered(row, names)) for row in rows]

    def of_turn(self, turn_id: str) -> list[Approval]:
        """Return all requests of a turn, oldest first."""
        return self._read(select(approvals).where(approvals.c.turn_id == turn_id))

    def find(self, request_id: int, owner: str) -> Approval | None:
        found = self._read(select(approvals).where(approvals.c.id == request_id, approvals.c.owner == owner))
        return found[0] if found else None

    def drop(self, request_id: int) -> bool:
        """End a pending request without an answer. False: it was not pending."""
        change = update(approvals).where(approvals.c.id == request_id, approvals.c.state == "pending")
        with self._database.write() as connection:
            return bool(connection.execute(change.values(state="dropped")).rowcount)

    def find_for_item(self, item_id: str) -> Approval | None:
        """Return the last request about an item; None: there was none."""
        found = self._read(select(approvals).where(approvals.c.item_id == item_id))
        return found[-1] if found else None

    def reviews_of_turn(self, turn_id: str) -> list[Approval]:
        """Return the automatic reviews of a turn, oldest first."""
        return [one for one in self.of_turn(turn_id) if one.method == REVIEW]

    def find_review(self, item_id: str, thread_id: str, owner: str) -> Approval | None:
        """Return the automatic review of an item in a thread of the owner; None: there was none."""
        query = select(approvals).where(approvals.c.item_id == item_id, approvals.c.method == REVIEW)
        found = self._read(query.where(approvals.c.thread_id == thread_id, approvals.c.owner == owner))
        return found[0] if found else None

    def session_keys(self, thread_id: str) -> set[str]:
        """Return the keys that answers have allowed for this thread, from then on."""
        query = select(approvals).where(approvals.c.thread_id == thread_id, approvals.c.state == "answered")
        query = query.where(approvals.c.method.not_in(FREE_ANSWERS))  # which allow nothing, and may be large
        return {key for approval in self._read(query) if approval.grants_session for key in approval.keys}

    def rules(self, owner: str) -> list[list[str]]:
        """Return the command prefixes that the owner has allowed in all threads (execpolicy amendments)."""
        with self._database.read() as connection:
            return list(connection.scalars(select(rules.c.prefix).where(rules.c.owner == owner)))

    def add_rule(self, owner: str, prefix: Sequence[str]) -> None:
        """Allow commands that begin with these words; harmless when repeated."""
        with self._database.write() as connection:
            if list(prefix) not in connection.scalars(select(rules.c.prefix).where(rules.c.owner == owner)).all():
                connection.execute(insert(rules).values(owner=owner, prefix=list(prefix), created_at_ms=now_ms()))

    def _read(self, query: Any) -> list[Approval]:
        with self._database.read() as connection:
            return [approval_from_row(row) for row in connection.execute(query.order_by(approvals.c.id))]


_WITH_THREAD = (
    select(approvals, threads.c.name, threads.c.preview, items.c.item, items.c.started_at_ms)
    .join(threads, threads.c.id == approvals.c.thread_id)
    .outerjoin(items, and_(items.c.id == approvals.c.item_id, items.c.thread_id == approvals.c.thread_id))
)


def _answered(row: Row[Any], names: Mapping[str, str]) -> Answered:
    by = row.answered_by or {"via": None, "keyId": None}
    return Answered(row.answered_at_ms, by["via"], names.get(by["keyId"]))


def decision_word(answer: Mapping[str, Any]) -> str:
    """Return the decision in an answer as one word, without the answer's content."""
    decision = answer.get("decision", answer.get("action"))
    if isinstance(decision, dict) and decision:
        decision = next(iter(decision))
    if isinstance(decision, str):
        return decision[:MAX_DECISION_CHARACTERS]
    return "error" if "error" in answer else "answered"


def _waiting(row: Row[Any]) -> Waiting:
    item = None if row.item is None else wire_item(row.item, row.item_id, row.started_at_ms, None)
    return Waiting(approval_from_row(row), row.name, row.preview, item, row.created_at_ms, row.expires_at_ms)


def approval_from_row(row: Row[Any]) -> Approval:
    return Approval(**{name: row._mapping[name] for name in Approval.__dataclass_fields__})
