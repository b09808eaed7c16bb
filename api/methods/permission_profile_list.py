"""permissionProfile/list: List the named sandbox modes, and which of them the user may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams
from api.requests.sandbox_policy import allowed_modes
from shared.protocol.sandbox_modes import MODE_OF_PROFILE

NAME = "permissionProfile/list"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """No params: there is one short page.

    Source: PROTOCOL 5.12
    """


class PermissionProfile(TypedDict):
    """A named sandbox mode.

    id:      for `permissions` of thread/start and turn/start
    allowed: whether the user may ask for it
    """

    id: str
    description: None
    allowed: bool


@dataclass(frozen=True)
class Result:
    """next_cursor: always null"""

    data: Sequence[PermissionProfile]
    next_cursor: None


EXAMPLE = Example(
    result={
        "data": [{"id": ":read-only", "description": None, "allowed": True}],
        "nextCursor": None,
    }
)


def handle(ctx: Context, params: Params) -> Result:
    modes = allowed_modes(ctx.config, ctx.user_id)
    profiles: list[PermissionProfile] = [
        {"id": name, "description": None, "allowed": mode in modes} for name, mode in MODE_OF_PROFILE.items()
    ]
    return Result(data=profiles, next_cursor=None)
