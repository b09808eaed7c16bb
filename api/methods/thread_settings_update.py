"""thread/settings/update: Change how a thread works from its next turn on."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests import settings
from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.results import Empty
from api.requests.settings import SettingsParams

NAME = "thread/settings/update"


@dataclass(frozen=True, kw_only=True)
class Params(SettingsParams):
    """The thread, and its new settings.

    Errors: InvalidParams; NotFound
    Source: PROTOCOL 5.11
    """

    thread_id: str


Result = Empty
EXAMPLE = Example(params={**ON_THREAD, "effort": "high"})


def handle(ctx: Context, params: Params) -> Result:
    changed = settings.changes(ctx.config, ctx.user_id, settings.overrides(params), params.thread_id)
    thread = ctx.store.threads.change_settings(params.thread_id, ctx.user_id, changed)
    ctx.after_reply(ctx.publish_settings, thread)
    return Result()
