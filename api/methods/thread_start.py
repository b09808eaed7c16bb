"""thread/start: Create a thread and follow it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from api.delivery.frames import notification
from api.requests import settings, web_search, workspace_sources
from api.requests.context import Context
from api.requests.examples import SESSION, THREAD, Example
from api.requests.hooks import hooks_of_server
from api.requests.instructions import find_instructions
from api.requests.params import Label
from api.requests.project_config import project_defaults, project_hooks, project_warnings, trust_levels
from api.requests.results import SessionResult
from api.requests.settings import SettingsParams
from api.requests.subscriptions import follow
from shared import telemetry
from shared.clock import now_ms
from shared.errors import InvalidRequest
from shared.events.log import Event
from shared.ids import new_id
from shared.protocol.dynamic_tools import DynamicTool, DynamicToolSchema, check_names
from shared.protocol.thread import SOURCE
from shared.shell_environment import merged
from shared.store.threads import TITLE_SOURCE, Thread
from shared.views.thread import session_result, thread_object

NAME = "thread/start"
MAX_NAMED = 50  # ignored keys that a warning names


@dataclass(frozen=True, kw_only=True)
class Params(SettingsParams):
    """How to work, and where. Without `cwd` the thread works in a new folder of its own, its workspace.

    `config.workspace` names what the workspace begins with: a git repository, {"gitUrl", "ref"?, "credential"?}, or an
    uploaded archive, {"archive": id}. A worker makes the workspace before the thread's first turn.

    ephemeral: whether the thread is left out of lists and removed when it is idle
    history_mode: how the client means to read the thread; stored and returned, without other effect
    thread_source: a label of the client, returned unread
    dynamic_tools: tools of the client, which the model can call
    Errors: InvalidParams; InvalidRequest (a title thread, and this server makes no titles); NotFound (the archive);
            Overloaded (too many threads)
    Source: PROTOCOL 5.1; docs/WORKSPACES.md
    """

    ephemeral: bool = False
    history_mode: Literal["legacy", "paginated"] | None = None
    thread_source: Label | None = None
    dynamic_tools: Annotated[list[Annotated[DynamicTool, DynamicToolSchema]], check_names] | None = None


Result = SessionResult
EXAMPLE = Example(
    params={"sandbox": "workspace-write", "approvalPolicy": "on-request"},
    result={**SESSION, "thread": {**THREAD, "preview": ""}},
)


def handle(ctx: Context, params: Params) -> Result:
    if params.thread_source == TITLE_SOURCE and not ctx.config.server.titles:
        raise InvalidRequest("this server makes no titles ([server] titles = false)")
    wanted, source = workspace_sources.split_off(ctx, settings.overrides(params))
    thread_id, at_ms = new_id(), now_ms()
    chosen = settings.defaults(ctx.config, ctx.user_id, thread_id)
    own = ctx.store.user_configs.get(ctx.user_id)[0]
    chosen |= settings.user_defaults(ctx.config, ctx.user_id, own)
    changed = settings.changes(ctx.config, ctx.user_id, wanted, thread_id)
    has_folder = "cwd" in wanted
    found = find_instructions(ctx, {**chosen, **changed}, has_folder=has_folder)
    levels = trust_levels(own.get("projects"), config=wanted.get("config", {}))
    of_project = project_defaults(ctx.config, ctx.user_id, found.project, levels, wanted.get("cwd"))
    if {"projectDocMaxBytes", "projectDocFallbackFilenames"} & of_project.keys():
        found = find_instructions(ctx, {**chosen, **of_project, **changed}, has_folder=has_folder)
    web_search.merge(of_project, chosen)
    chosen |= of_project
    if "shellEnvironmentPolicy" in chosen and "shellEnvironmentPolicy" in changed:
        changed["shellEnvironmentPolicy"] = merged(chosen["shellEnvironmentPolicy"], changed["shellEnvironmentPolicy"])
    web_search.merge(changed, chosen)
    chosen |= changed
    if source is not None:
        chosen["workspace"] = True  # a worker makes the workspace before the first turn
    chosen["dynamicTools"] = params.dynamic_tools or []
    settings.check_size(chosen)
    hooks = project_hooks(found.project, levels, wanted.get("cwd"))
    if hooks.hooks:
        chosen["hooks"] = hooks.hooks
    chosen |= found.changes
    servers = own.get(settings.MCP_SERVERS), chosen.get("mcpServers")
    refused = settings.refused_mcp_servers(ctx.config, ctx.user_id, *servers) if any(servers) else []
    thread = Thread(
        id=thread_id,
        owner=ctx.user_id,
        session_id=thread_id,
        settings=chosen,
        source=SOURCE,
        created_at_ms=at_ms,
        updated_at_ms=at_ms,
        recency_at_ms=at_ms,
        used_at_ms=at_ms,
        thread_source=params.thread_source,
        originator=ctx.connection.client_name if ctx.connection else None,
        ephemeral=params.ephemeral,
        history_mode=params.history_mode,
    )
    ctx.services.limits.check_threads(ctx.user_id)
    follow(ctx, thread_id)  # first: without Redis there is no thread, and the client may send the request again
    ctx.store.threads.create(thread, source, audit_entry=ctx.audit_entry(NAME))
    telemetry.conversation_started(thread.id, ctx.user_id, thread.originator, thread.settings)
    ctx.after_reply(ctx.publish, thread_id, Event("thread/started", {"thread": thread_object(thread)}))
    of_files = [*hooks_of_server(ctx).warnings, *hooks.warnings, *(one["message"] for one in hooks.errors)]
    found.warn(ctx, thread_id, [*project_warnings(found.project, levels, wanted.get("cwd")), *of_files])
    ignored = settings.ignored_keys(wanted.get("config", {}))
    if ignored or refused:
        _warn(ctx, thread_id, ignored, refused)
    for summary, details in web_search.deprecated(wanted.get("config", {})):
        ctx.frames.append(notification("deprecationNotice", {"summary": summary, "details": details}))
    return Result(**session_result(thread))


def _warn(ctx: Context, thread_id: str, ignored: Sequence[str], refused: Sequence[str]) -> None:
    """Send the client the keys of `config` that have no effect, as the original does, and refused MCP servers."""
    lines = [f"  session-flags: `{key[:200]}` is ignored." for key in ignored[:MAX_NAMED]]
    if ignored:
        lines.insert(0, f"This server ignores configuration settings that have no meaning here: {len(ignored)}.")
    if refused:
        lines += [
            "The agent does not have the tools of these MCP servers:",
            *(f"  {one}" for one in refused[:MAX_NAMED]),
        ]
    message = "\n".join(lines)
    ctx.frames.append(notification("configWarning", {"summary": message, "details": None}))
    ctx.after_reply(ctx.publish, thread_id, Event("warning", {"threadId": thread_id, "message": message}))
