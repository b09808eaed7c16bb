"""account/read: Show the caller's user id. No login with a model vendor is needed."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import USER_ID, Example
from api.requests.params import MethodParams

NAME = "account/read"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """No params."""


@dataclass(frozen=True)
class Result:
    """The caller. The credential of the connection says who that is.

    account: always null: there is no account with a model vendor
    Source:  PROTOCOL 5.12
    """

    account: None
    user_id: str
    requires_openai_auth: bool
    workspace_routing: None


EXAMPLE = Example(result={"account": None, "userId": USER_ID, "requiresOpenaiAuth": False, "workspaceRouting": None})


def handle(ctx: Context, params: Params) -> Result:
    return Result(account=None, user_id=ctx.user_id, requires_openai_auth=False, workspace_routing=None)
