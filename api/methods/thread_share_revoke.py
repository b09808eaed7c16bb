"""thread/share/revoke: End a link to a thread, and the streams that it opened. Not part of the Codex protocol."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import SHARE_ID, Example
from api.requests.params import MethodParams
from shared.errors import NotFound
from shared.ids import is_id

NAME = "thread/share/revoke"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The link. It opens nothing from now on; open streams end within 10 s. Harmless when repeated.

    Errors: NotFound
    """

    share_id: str


@dataclass(frozen=True)
class Result:
    """Nothing."""


EXAMPLE = Example(params={"shareId": SHARE_ID})


def handle(ctx: Context, params: Params) -> Result:
    if not is_id(params.share_id):
        raise NotFound(f"no share link {params.share_id}")
    ctx.store.thread_shares.revoke(params.share_id, ctx.user_id, audit_entry=ctx.audit_entry(NAME))
    return Result()
