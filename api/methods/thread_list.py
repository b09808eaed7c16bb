"""thread/list: List the caller's threads, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from marshmallow import ValidationError, validate

from api.requests.context import Context
from api.requests.examples import BEGIN_MS, THREAD, Example
from api.requests.pages import page_size
from api.requests.params import MethodParams
from api.requests.results import ThreadsPage
from api.requests.schemas import variant
from api.requests.workspace_paths import same_folders
from shared.ids import is_id
from shared.protocol.thread import INTERACTIVE_SOURCES, SOURCES
from shared.store.threads import SORT_COLUMNS, Filter, Thread, format_cursor, parse_cursor
from shared.views.thread import thread_object

NAME = "thread/list"
PAGE = 25
MAX_IDS = 100
MAX_VALUES = 10_000  # of one filter: a statement of Postgres takes 65535
NEVER_MATCHED = ("section_id", "project_id", "parent_thread_id", "ancestor_thread_id", "attached_to_thread_id")


def _path_or_paths(value: object) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not all(isinstance(path, str) for path in value) or len(value) > MAX_VALUES:
        raise ValidationError(f"expected a path or a list of at most {MAX_VALUES} paths")


def _thread_id(value: str) -> None:
    if not is_id(value):
        raise ValidationError(f"invalid thread id: {value[:80]}")


ThreadId = Annotated[str, _thread_id]


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """Which threads to return, in which order. All members are optional.

    cursor: a cursor of another page
    limit:  1 to 100; by default 25
    sort_key: section_position sorts like created_at: this server has no sections
    source_kinds: by default "cli" and "vscode"; threads that this server creates are "vscode"
    archived: whether to return archived threads instead of the others
    cwd:    only threads that work in this folder, or in one of a list of folders, whatever way its path is written
    search_term: characters of the name or of the first message
    included_thread_ids: only these, at most 100; an empty list has no thread
    excluded_thread_ids: without these, at most 100
    current_account_only, include_attached_threads, use_state_db_only: without effect: all threads of a user belong to
        one account, no thread is attached to another, and lists never read files
    section_id, project_id, parent_thread_id, ancestor_thread_id, attached_to_thread_id: no thread of this server has
        one, so a list with such a condition is empty
    Errors: InvalidParams (also for a member that is not known); InvalidRequest (the cursor)
    Source: PROTOCOL 5.5
    """

    refuses_unknown = True

    cursor: str | None = None
    limit: int | None = None
    sort_key: Annotated[str, variant(*SORT_COLUMNS, "section_position")] = "created_at"
    sort_direction: Literal["asc", "desc"] = "desc"
    model_providers: Annotated[Sequence[str], validate.Length(max=MAX_VALUES)] = ()
    originators: Annotated[Sequence[str], validate.Length(max=MAX_VALUES)] = ()
    source_kinds: Annotated[Sequence[Annotated[str, variant(*SOURCES)]], validate.Length(max=MAX_VALUES)] = ()
    archived: bool = False
    cwd: Annotated[object, _path_or_paths] | None = None
    search_term: str | None = None
    included_thread_ids: Annotated[Sequence[ThreadId], validate.Length(max=MAX_IDS)] | None = None
    excluded_thread_ids: Annotated[Sequence[ThreadId], validate.Length(max=MAX_IDS)] = ()
    current_account_only: bool = False
    include_attached_threads: bool = False
    use_state_db_only: bool = False
    section_id: object | None = None
    project_id: object | None = None
    parent_thread_id: object | None = None
    ancestor_thread_id: object | None = None
    attached_to_thread_id: object | None = None


@dataclass(frozen=True)
class Result(ThreadsPage):
    """read_states: always null: this server does not record what was read"""

    read_states: None


EXAMPLE = Example(
    params={"limit": 20, "searchTerm": "tests"},
    result={
        "data": [THREAD],
        "nextCursor": None,
        "backwardsCursor": str(BEGIN_MS),
        "readStates": None,
    },
)


def handle(ctx: Context, params: Params) -> Result:
    sort_key = "created_at" if params.sort_key == "section_position" else params.sort_key
    after = None if params.cursor is None else parse_cursor(params.cursor)
    limit = page_size(params.limit, PAGE)
    found: list[Thread] = []
    if all(getattr(params, name) is None for name in NEVER_MATCHED):
        descending = params.sort_direction == "desc"
        found = ctx.store.threads.page(
            ctx.user_id, _filter(ctx, params), sort_key=sort_key, descending=descending, after=after, limit=limit + 1
        )
    rows = found[:limit]
    times = [int(getattr(row, f"{sort_key}_ms")) for row in rows]
    return Result(
        data=[thread_object(row) for row in rows],
        next_cursor=format_cursor(times[-1], rows[-1].id) if len(found) > limit else None,
        backwards_cursor=format_cursor(times[0], None) if rows else None,
        read_states=None,
    )


def _filter(ctx: Context, params: Params) -> Filter:
    cwd = params.cwd
    folders = [cwd] if isinstance(cwd, str) else cwd if isinstance(cwd, list) else None
    return Filter(
        archived=params.archived,
        sources=params.source_kinds or INTERACTIVE_SOURCES,
        model_providers=params.model_providers or None,
        originators=params.originators or None,
        cwds=None if folders is None else same_folders(ctx, folders),
        search_term=params.search_term,
        included_ids=params.included_thread_ids,
        excluded_ids=params.excluded_thread_ids,
    )
