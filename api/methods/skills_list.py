"""skills/list: List the skills of each folder that the client names. There are none yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams

NAME = "skills/list"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """cwds: folders; they may be paths of the client's machine, and are returned without being opened"""

    cwds: Sequence[str] = ()


class FolderSkills(TypedDict):
    """The skills of one folder.

    skills, errors: always empty
    """

    cwd: str
    skills: Sequence[str]
    errors: Sequence[str]


@dataclass(frozen=True)
class Result:
    """data: one entry for each folder of `cwds`

    Source: PROTOCOL 5.12
    """

    data: Sequence[FolderSkills]


EXAMPLE = Example(result={"data": []})


def handle(ctx: Context, params: Params) -> Result:
    return Result(data=[{"cwd": cwd, "skills": [], "errors": []} for cwd in params.cwds])
