"""configRequirements/read: Show what the operator requires of clients' settings."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import NoParams

NAME = "configRequirements/read"


@dataclass(frozen=True, kw_only=True)
class Params(NoParams):
    """No params.

    Source: PROTOCOL 5.12
    """


@dataclass(frozen=True)
class Result:
    """requirements: always null: a setting that is not allowed is refused when a client asks for it"""

    supports_independent_speed_modes: bool
    requirements: None


EXAMPLE = Example(result={"supportsIndependentSpeedModes": True, "requirements": None})


def handle(ctx: Context, params: Params) -> Result:
    return Result(supports_independent_speed_modes=True, requirements=None)
