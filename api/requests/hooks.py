"""The hooks of the operator, as a caller may know them."""

from __future__ import annotations

from api.requests.context import Context
from shared.hook_files import HookFile
from shared.protocol.hooks import Hook
from shared.store.users import LOCAL_USER

HIDDEN = "(a command of the operator)"


def hooks_of_server(ctx: Context) -> HookFile:
    """Return the operator's hooks. A user of a server with keys does not see their commands, nor what is wrong."""
    found = ctx.config.hooks.found
    if ctx.user_id == LOCAL_USER:
        return found
    return HookFile([_hidden(hook) for hook in found.hooks])


def _hidden(hook: Hook) -> Hook:
    return {**hook, "source": "system", "command": HIDDEN}
