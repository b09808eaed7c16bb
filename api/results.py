"""Results that several methods share. Their members are the wire's own objects, made in shared.protocol."""

from __future__ import annotations

from marshmallow import fields

from shared.protocol.base import WireSchema


class Empty(WireSchema):
    """Shape: {}"""


class SessionResult(WireSchema):
    """A thread and the settings in force: the members of shared.protocol.thread.session_result.

    instructionSources: always empty. The API opens no folder; a worker reads the AGENTS.md files when a turn begins

    Source: PROTOCOL 5.1
    """

    thread = fields.Dict()
    model = fields.Str()
    model_provider = fields.Str()
    service_tier = fields.Str()
    cwd = fields.Str()
    runtime_workspace_roots = fields.List(fields.Str())
    approval_policy = fields.Raw()
    approvals_reviewer = fields.Str()
    sandbox = fields.Dict()
    active_permission_profile = fields.Raw()
    reasoning_effort = fields.Str()
    instruction_sources = fields.List(fields.Str())
    disabled_plugin_ids = fields.List(fields.Str())
    multi_agent_mode = fields.Str()


class ThreadResult(WireSchema):
    """Shape: {"thread": Thread}"""

    thread = fields.Dict()


class Page(WireSchema):
    """Shape: {"data": [object], "nextCursor": str|null, "backwardsCursor": str|null}"""

    data = fields.List(fields.Dict())
    next_cursor = fields.Str()
    backwards_cursor = fields.Str()
