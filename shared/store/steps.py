"""What a step of a turn starts from, read in one transaction. These statements of the hot path are built once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, func, or_, select

from shared.config.client_mcp_servers import McpTables
from shared.errors import ClaimLost
from shared.protocol.settings import ThreadSettings
from shared.protocol.skills import SkillSettings, own_settings
from shared.protocol.token_usage import ThreadTokenUsage
from shared.store import history_size
from shared.store.connection import Database
from shared.store.items import SELECTED, Item, from_row
from shared.store.own_workspace import with_own_workspace
from shared.store.tables import items, pending_inputs, threads, turns, user_configs, user_limits
from shared.store.terminals import HAS_REPORTS
from shared.store.turns import Claim, PendingInput


@dataclass(frozen=True, slots=True)
class Step:
    """The state of a turn and its thread at the beginning of a step.

    settings:       of the thread, as they are now
    usage:          the thread's tokenUsage, or None
    rows:           the log from the last compaction on, that one included, in order; of earlier turns only messages of
                    the user have their `item`, because the model sees the rest in `model_items`
    is_whole:       whether rows has all of them; False: only those behind the row that the caller knew
    first_position: of the last compaction, or 0
    size_bytes:     of all rows, with the input that is not read
    pending_inputs: input that the turn has not read, oldest first
    interrupted:    whether somebody asked the turn to stop
    own_budget:     the user's tokens per day and per month; None where the default holds
    has_reports:    whether the model must read of background terminals that have ended
    skill_settings: what the user has set about skills
    mcp_servers:    the tables of MCP servers in the user's own configuration
    """

    settings: ThreadSettings
    usage: ThreadTokenUsage | None
    rows: list[Item]
    is_whole: bool
    first_position: int
    size_bytes: int
    pending_inputs: list[PendingInput]
    interrupted: bool
    own_budget: tuple[int | None, int | None]
    has_reports: bool
    skill_settings: SkillSettings
    mcp_servers: McpTables


_UNREAD = (pending_inputs.c.turn_id == bindparam("turn_id"), pending_inputs.c.item_id.is_(None))
_IS_FIRST = func.row_number().over(order_by=pending_inputs.c.id) == 1


def _once(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Return what only the first row has: a large value would be sent and parsed once for each input."""
    return case((_IS_FIRST, column)).label(name)


_TURN = (  # a row for each input that is not read; without any, one
    select(
        *(_once(threads.c.settings, "settings"), _once(threads.c.token_usage, "token_usage"), turns.c.interrupted),
        *(user_limits.c.tokens_per_day, user_limits.c.tokens_per_month),
        _once(user_configs.c.config, "user_config"),
        *(HAS_REPORTS.label("has_reports"), history_size.FIRST_POSITION, history_size.SIZE_BYTES),
        *(pending_inputs.c.id.label("input_id"), pending_inputs.c.input, pending_inputs.c.client_id),
    )
    .join(turns, turns.c.thread_id == threads.c.id)
    .outerjoin(user_limits, user_limits.c.owner == turns.c.owner)
    .outerjoin(user_configs, user_configs.c.owner == turns.c.owner)
    .outerjoin(pending_inputs, and_(*_UNREAD))
    .where(turns.c.id == bindparam("turn_id"))
    .order_by(pending_inputs.c.id)
)
_HAS_ITEM = or_(items.c.turn_id == bindparam("turn_id"), items.c.kind == "userMessage")
_ROWS = (
    select(*(case((_HAS_ITEM, column)).label("item") if column is items.c.item else column for column in SELECTED))
    .where(items.c.thread_id == bindparam("thread_id"), items.c.position >= bindparam("first"))
    .order_by(items.c.position)
)


def _read_rows(connection: Connection, ids: dict[str, str], first: int) -> list[Item]:
    return [from_row(row) for row in connection.execute(_ROWS, {**ids, "first": first}).all()]


def read_step(database: Database, claim: Claim, history_limit: int, known: Item | None) -> Step:
    """Read the state for the worker that holds the claim.

    history_limit: bytes that the history may have; no items of a larger one are loaded. 0: no limit
    known:         a row of the log that the caller has, with all that come before it
    Errors:        ClaimLost (the thread was deleted), HistoryTooLarge
    """
    ids = {"turn_id": claim.turn_id, "thread_id": claim.thread_id}
    with database.read() as connection:
        found = connection.execute(_TURN, ids).all()
        if not found:
            raise ClaimLost("the thread was deleted")
        turn = found[0]
        history_size.check(int(turn.size_bytes), history_limit)
        first_position = int(turn.first_position)
        rows = _read_rows(connection, ids, max(first_position, known.position if known is not None else 0))
        is_whole = known is None or known.position < first_position
        if known is not None and not is_whole:
            if rows and rows[0].id == known.id:
                del rows[0]
            else:  # it was removed with its turn
                rows, is_whole = _read_rows(connection, ids, first_position), True
        settings = with_own_workspace(connection, claim.owner, claim.thread_id, turn.settings)
        inputs = [PendingInput(row.input_id, row.input, row.client_id) for row in found if row.input_id is not None]
    own_budget = (turn.tokens_per_day, turn.tokens_per_month)
    return Step(
        settings,
        turn.token_usage,
        rows,
        is_whole,
        first_position,
        int(turn.size_bytes),
        inputs,
        turn.interrupted,
        own_budget,
        turn.has_reports,
        own_settings(turn.user_config or {}),
        (turn.user_config or {}).get("mcp_servers") or {},
    )
