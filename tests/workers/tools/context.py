"""A ToolContext for tests: a real policy, and a list of what the tool published."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.control.signal import Signal
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.sessions import CommandSessions
from workers.tools.base import ToolCall, ToolContext


@dataclass
class Published:
    """What was sent to clients: (method, params) of notifications, (item_id, item) completed later."""

    emitted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    completed: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


def make_context(
    cwd: Path,
    sandbox: str = "workspaceWrite",
    *,
    writable_roots: tuple[Path, ...] = (),
    workspace: Path | None = None,
    hidden: tuple[Path, ...] = (),
    published: Published | None = None,
) -> ToolContext:
    published = published or Published()
    policy = {"type": sandbox, "writableRoots": [str(root) for root in writable_roots]}
    return ToolContext(
        thread_id="019e3a5c-0000-7000-8000-000000000001",
        turn_id="019e3a5c-0000-7000-8000-000000000002",
        cwd=cwd,
        sandbox=SandboxPolicy.from_wire(policy, cwd, hidden=hidden, workspace=workspace),
        signal=Signal(),
        sessions=CommandSessions(),
        emit=lambda method, params: published.emitted.append((method, params)),
        complete_later=lambda item_id, item: published.completed.append((item_id, item)),
    )


def make_call(name: str, arguments: str) -> ToolCall:
    return ToolCall(item_id="019e3a5c-0000-7000-8000-000000000003", call_id="call_1", name=name, arguments=arguments)
