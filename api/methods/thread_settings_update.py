"""thread/settings/update: change how a thread works from its next turn on."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api import settings
from api.context import Context
from api.results import Empty
from api.settings import SettingsParams

NAME = "thread/settings/update"


class Params(SettingsParams):
    """Shape: SettingsParams and {"threadId": UUIDv7}. Errors: InvalidParams, NotFound. Source: PROTOCOL 5.11"""

    thread_id = fields.Str(required=True)


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    changed = settings.changes(ctx.config, ctx.user_id, params)
    thread = ctx.store.threads.change_settings(params["thread_id"], ctx.user_id, changed)
    ctx.after_reply(ctx.publish_settings, thread)
    return {}
