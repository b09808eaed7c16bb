"""thread/list: the caller's threads, a page at a time."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, validate

from api.context import Context
from api.history import clamp
from api.params import ParamsSchema, variant
from api.results import Page
from shared.ids import is_id
from shared.protocol.thread import thread_object
from shared.store.threads import SORT_COLUMNS, Filter, Thread, format_cursor, parse_cursor

NAME = "thread/list"
PAGE = 25
INTERACTIVE = ("cli", "vscode")
SUB_AGENTS = ("subAgent", "subAgentReview", "subAgentCompact", "subAgentThreadSpawn", "subAgentOther")
SOURCES = (*INTERACTIVE, "exec", "appServer", *SUB_AGENTS, "unknown")
MAX_EXCLUDED = 100
LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"  # behind every id: a cursor that names a time alone


def _path_or_paths(value: Any) -> None:
    if not isinstance(value, str) and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
        raise ValidationError("expected a path or a list of paths")


def _thread_id(value: str) -> None:
    if not is_id(value):
        raise ValidationError(f"invalid thread id: {value[:80]}")


class Params(ParamsSchema):
    """Which threads, in which order.

    Shape:  all optional: {"cursor", "limit": 1 to 100, "sortKey", "sortDirection", "modelProviders": [str],
            "originators": [str], "sourceKinds": [one of SOURCES], "archived": bool, "cwd": path or [path],
            "searchTerm", "excludedThreadIds": [id, at most 100], and "sectionId", "projectId", "parentThreadId",
            "ancestorThreadId", "attachedToThreadId", which no thread of ours has}
    Errors: InvalidParams; InvalidRequest (the cursor)
    Source: PROTOCOL 5.5
    """

    cursor = fields.Str(load_default=None)
    limit = fields.Int(load_default=None)
    sort_key = fields.Str(load_default="created_at", validate=variant(*SORT_COLUMNS, "section_position"))
    sort_direction = fields.Str(load_default="desc", validate=variant("asc", "desc"))
    model_providers = fields.List(fields.Str(), load_default=[])
    originators = fields.List(fields.Str(), load_default=[])
    source_kinds = fields.List(fields.Str(validate=variant(*SOURCES)), load_default=[])
    archived = fields.Bool(load_default=False)
    cwd = fields.Raw(load_default=None, validate=_path_or_paths)
    search_term = fields.Str(load_default=None)
    excluded_thread_ids = fields.List(
        fields.Str(validate=_thread_id), load_default=[], validate=validate.Length(max=MAX_EXCLUDED)
    )
    section_id = fields.Raw(load_default=None)
    project_id = fields.Raw(load_default=None)
    parent_thread_id = fields.Raw(load_default=None)
    ancestor_thread_id = fields.Raw(load_default=None)
    attached_to_thread_id = fields.Raw(load_default=None)


class Result(Page):
    """A page, and what of it is unread (not kept here)."""

    read_states = fields.Raw()


FOREIGN = ("section_id", "project_id", "parent_thread_id", "ancestor_thread_id", "attached_to_thread_id")


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    sort_key = "created_at" if params["sort_key"] == "section_position" else params["sort_key"]
    descending = params["sort_direction"] == "desc"
    after = None
    if params["cursor"] is not None:
        at_ms, thread_id = parse_cursor(params["cursor"])
        after = (at_ms, thread_id or LAST_ID)
    limit = clamp(params["limit"], PAGE)
    found: list[Thread] = []
    if all(params[name] is None for name in FOREIGN):
        wanted = _filter(params)
        found = ctx.store.threads.page(
            ctx.user_id, wanted, sort_key=sort_key, descending=descending, after=after, limit=limit + 1
        )
    rows = found[:limit]
    times = [int(getattr(row, f"{sort_key}_ms")) for row in rows]
    return {
        "data": [thread_object(row) for row in rows],
        "next_cursor": format_cursor(times[-1], rows[-1].id) if len(found) > limit else None,
        "backwards_cursor": format_cursor(times[0], None) if rows else None,
        "read_states": None,
    }


def _filter(params: dict[str, Any]) -> Filter:
    cwd = params["cwd"]
    return Filter(
        archived=params["archived"],
        sources=params["source_kinds"] or INTERACTIVE,
        model_providers=params["model_providers"] or None,
        originators=params["originators"] or None,
        cwds=None if cwd is None else [cwd] if isinstance(cwd, str) else cwd,
        search_term=params["search_term"],
        excluded_ids=params["excluded_thread_ids"],
    )
