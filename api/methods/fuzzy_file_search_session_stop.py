"""fuzzyFileSearch/sessionStop: no more searches there."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.methods.fuzzy_file_search import search_name
from api.methods.fuzzy_file_search_session_update import session_token
from api.params import ParamsSchema
from api.results import Empty

NAME = "fuzzyFileSearch/sessionStop"


class Params(ParamsSchema):
    """Shape: {"sessionId": str}; one that is not there is no error"""

    session_id = fields.Str(required=True)


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    if ctx.connection is not None:
        ctx.connection.searches.pop(params["session_id"], None)
        ctx.connection.drop_call(search_name(session_token(params["session_id"])))
    return {}
