"""thread/metadata/update: Store what a client knows about a thread's repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NotRequired, TypedDict, cast

from api.requests.context import Context
from api.requests.examples import ON_THREAD, THREAD, Example
from api.requests.params import ThreadParams
from api.requests.results import ThreadResult
from shared.errors import InvalidParams
from shared.protocol.thread import GitInfo
from shared.views.thread import thread_object

NAME = "thread/metadata/update"
MAX_FACT_CHARACTERS = 4000
NO_FACTS: GitInfo = {"sha": None, "branch": None, "originUrl": None}


class GitInfoChange(TypedDict):
    """Facts about a repository. One that is left out keeps its value, null removes it; none may be empty."""

    sha: NotRequired[str | None]
    branch: NotRequired[str | None]
    originUrl: NotRequired[str | None]


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread, and what is known. This server stores no project and no cyber access.

    Errors: NotFound; InvalidParams
    Source: PROTOCOL 5.11
    """

    git_info: Annotated[Mapping[str, object], GitInfoChange] | None = None


Result = ThreadResult
EXAMPLE = Example(
    params={**ON_THREAD, "gitInfo": {"branch": "main"}},
    result={"thread": {**THREAD, "gitInfo": {"sha": None, "branch": "main", "originUrl": None}}},
)


def handle(ctx: Context, params: Params) -> Result:
    thread = ctx.get_thread(params.thread_id, missing="no rollout found for thread id {}")
    given = {name: _fact(value) for name, value in (params.git_info or {}).items() if name in NO_FACTS}

    def edit(before: GitInfo | None) -> GitInfo | None:
        info = cast(GitInfo, {**(before or NO_FACTS), **given})
        return info if any(info.values()) else None

    if given:
        ctx.store.threads.change_git_info(thread.id, ctx.user_id, edit)
    return Result(thread=thread_object(ctx.get_thread(thread.id)))


def _fact(value: object) -> str | None:
    if value is None or (isinstance(value, str) and 0 < len(value) <= MAX_FACT_CHARACTERS):
        return value
    wanted = f"expected strings of 1 to {MAX_FACT_CHARACTERS} characters, or null"
    raise InvalidParams(f"Invalid request: gitInfo: {wanted}")
