"""model/list: List the models that a client may choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.pages import invalid_cursor
from api.requests.params import MethodParams
from shared.config.model_catalogue import Model, models

NAME = "model/list"
MAX_CURSOR_DIGITS = 9


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """Which models to return.

    cursor: `nextCursor` of the page before
    limit:  by default all
    Errors: InvalidRequest (the cursor)
    Source: PROTOCOL 5.12
    """

    cursor: str = "0"
    limit: int | None = None
    include_hidden: bool = False


@dataclass(frozen=True)
class Result:
    """data: the default model first"""

    data: Sequence[Model]
    next_cursor: str | None


EXAMPLE = Example(
    result={
        "data": [
            {
                "id": "gpt-5.5",
                "model": "gpt-5.5",
                "displayName": "GPT-5.5",
                "description": "Served by OpenAI",
                "hidden": False,
                "supportedReasoningEfforts": [
                    {"reasoningEffort": "medium", "description": "Balances speed and depth of reasoning"}
                ],
                "defaultReasoningEffort": "medium",
                "inputModalities": ["text", "image"],
                "supportsPersonality": False,
                "isDefault": True,
                "upgrade": None,
                "upgradeInfo": None,
                "availabilityNux": None,
                "additionalSpeedTiers": [],
                "serviceTiers": [],
                "defaultServiceTier": None,
                "multiAgentVersion": None,
                "modelSpecialty": None,
                "availableAccessPrograms": None,
            }
        ],
        "nextCursor": None,
    }
)


def handle(ctx: Context, params: Params) -> Result:
    found = [model for model in models(ctx.config) if params.include_hidden or not model["hidden"]]
    if not (params.cursor.isascii() and params.cursor.isdigit()):
        raise invalid_cursor(params.cursor)
    start = min(int(params.cursor[:MAX_CURSOR_DIGITS]), len(found))
    end = len(found) if params.limit is None else start + max(1, params.limit)
    return Result(data=found[start:end], next_cursor=str(end) if end < len(found) else None)
