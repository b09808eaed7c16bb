"""What webhooks are sent about turns and approvals, put into the outbox in the transaction of the move."""

from __future__ import annotations

from sqlalchemy import Connection

from shared.protocol.server_requests import TOOL_CALL
from shared.store.approvals import Approval
from shared.store.outbox import Outbox
from shared.store.turns import Turn


def add_turn_event(connection: Connection, outbox: Outbox, event: str, turn: Turn) -> None:
    if outbox.wants(event):
        kind = turn.options.get("kind", "regular")
        outbox.add(connection, event, {**turn_ids(turn), "status": turn.status, "kind": kind})


def add_approval_event(connection: Connection, outbox: Outbox, event: str, approval: Approval) -> None:
    """Nothing is sent about a call that the client's own program answers: no person decides it."""
    if outbox.wants(event) and approval.method != TOOL_CALL:
        data = {
            "threadId": approval.thread_id,
            "turnId": approval.turn_id,
            "userId": approval.owner,
            "itemId": approval.item_id,
            "requestId": approval.id,
            "method": approval.method,
            "state": approval.state,
        }
        outbox.add(connection, event, data)


def turn_ids(turn: Turn) -> dict[str, str]:
    return {"threadId": turn.thread_id, "turnId": turn.id, "userId": turn.owner}
