"""Whether a tool of an MCP server may be called: its annotations, the approval mode, earlier grants, or a question.

The question is an elicitation with an empty form, and not one of the approval requests of commands (EXTENSIONS 5).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from shared.config.client_mcp_servers import checked_tables, merge_layers
from shared.config.mcp_servers import APPROVE, PROMPT
from shared.errors import InvalidParams
from shared.protocol.sandbox_modes import FULL_ACCESS, MODE_OF_POLICY_TYPE
from shared.protocol.server_requests import ELICITATION, ElicitationParams
from shared.protocol.settings import SandboxPolicy
from shared.store import Store
from shared.store.approvals import Approval
from shared.store.turns import Claim
from workers.agent.decisions import FOR_SESSION, ApprovalRequest, Decision, may_ask
from workers.mcp.offered_tools import McpTool
from workers.tools.base import PreparedCall

logger = logging.getLogger(__name__)

REJECTED = "user rejected MCP tool call"
CANCELLED = "user cancelled MCP tool call"
NEVER = "MCP tool call requires approval, but approval policy is never"
ALWAYS = "always"
MCP_QUESTION = "mcp_elicitations"  # the kind of question, as granular policies name it


def decide(
    store: Store, claim: Claim, prepared: PreparedCall, policy: Any, sandbox: SandboxPolicy
) -> Decision | ApprovalRequest:
    """Return the decision about a call, or the request to a person that it needs.

    policy, sandbox: approvalPolicy and sandboxPolicy of PROTOCOL section 4
    """
    tool = prepared.mcp_tool
    assert tool is not None
    mode = tool.server.approval_mode(tool.name)
    if mode == APPROVE or (mode != PROMPT and tool.read_only is True):
        return Decision(allowed=True)
    approval = store.approvals.find_for_item(prepared.call.item_id)
    if approval is not None and approval.state == "answered":
        if _persist(approval) == ALWAYS:
            _keep_always(store, claim.owner, tool)
        return _read_answer(approval)
    if not may_ask(policy, MCP_QUESTION):
        if MODE_OF_POLICY_TYPE[sandbox["type"]] == FULL_ACCESS and mode != PROMPT:
            return Decision(allowed=True)
        return Decision(False, explanation=NEVER, status="failed")
    if mode != PROMPT and _key(tool) in store.approvals.session_keys(claim.thread_id):
        return Decision(allowed=True, decision=FOR_SESSION, source="user")
    return ApprovalRequest(ELICITATION, _params(tool, prepared.data, may_persist=mode != PROMPT), (_key(tool),))


def _keep_always(store: Store, owner: str, tool: McpTool) -> None:
    """Store in the user's own configuration that a tool is not asked about any more; harmless when repeated.

    A configuration that is full stays as it is: the answer counts for the thread alone then.
    """
    kept = {"tools": {tool.name: {"approval_mode": APPROVE}}}

    def edit(values: Mapping[str, object]) -> Mapping[str, object]:
        own: Any = values.get("mcp_servers") or {}
        return {**values, "mcp_servers": checked_tables(merge_layers(own, {tool.server.name: kept}), "mcp_servers")}

    try:
        own, _ = store.user_configs.get(owner)
        if edit(own) != own:
            store.user_configs.change(owner, edit, None)
    except InvalidParams as error:
        logger.warning("approval for always not stored: %s", error)


def _key(tool: McpTool) -> str:
    return json.dumps([ELICITATION, tool.server.name, tool.name])


def _persist(approval: Approval) -> object:
    answer = approval.answer if isinstance(approval.answer, Mapping) else {}
    meta = answer.get("_meta")
    return meta.get("persist") if answer.get("action") == "accept" and isinstance(meta, Mapping) else None


def _read_answer(approval: Approval) -> Decision:
    """Return what a client's answer means. Anything other than an explicit acceptance is a denial."""
    answer = approval.answer if isinstance(approval.answer, Mapping) else {}
    match answer.get("action"):
        case "accept":
            decision = FOR_SESSION if approval.grants_session else ""
            return Decision(allowed=True, decision=decision, source="user")
        case "cancel":
            return Decision(False, explanation=CANCELLED, status="failed", source="user")
        case _:
            return Decision(False, explanation=REJECTED, status="failed", source="user")


def _params(tool: McpTool, arguments: Mapping[str, Any], *, may_persist: bool) -> ElicitationParams:
    annotations = {
        name: tool.annotations[name]
        for name in ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
        if isinstance(tool.annotations.get(name), bool)
    }
    title = tool.definition.get("title")
    meta: dict[str, Any] = {
        "codex_approval_kind": "mcp_tool_call",
        **({"persist": ["session", ALWAYS]} if may_persist else {}),
        "tool_name": tool.name,
        **({"tool_annotations": annotations} if annotations else {}),
        **({"tool_title": title} if isinstance(title, str) else {}),
        "tool_description": tool.definition.get("description") or "",
        "tool_params": arguments,
        "tool_params_display": [
            {"name": name, "value": value, "display_name": name} for name, value in arguments.items()
        ],
    }
    return {
        "serverName": tool.server.name,
        "environmentId": None,
        "mode": "form",
        "_meta": meta,
        "message": f'Allow the {tool.server.name} MCP server to run tool "{tool.name}"?',
        "requestedSchema": {"type": "object", "properties": {}},
    }
