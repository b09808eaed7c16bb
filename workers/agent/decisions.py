"""What was decided about a call, or what a person must be asked first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared.protocol.items import ItemStatus
from shared.protocol.server_requests import CommandApprovalParams, ElicitationParams, PatchApprovalParams

FOR_SESSION = "approved_for_session"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call runs, and how it ends if it does not.

    allowed:     it runs; outside of the sandbox when escalated
    explanation: why it does not run, for the model
    status:      how the item of a denied call ends
    cancelled:   the turn ends as interrupted
    decision:    in one word, for telemetry
    source:      who decided: `config`, `user` or `auto_review`
    shown:       clients see the item of a denied call
    """

    allowed: bool
    escalated: bool = False
    explanation: str = ""
    status: ItemStatus = "declined"
    cancelled: bool = False
    decision: str = ""
    source: str = "config"
    shown: bool = True

    def __post_init__(self) -> None:
        if not self.decision:
            object.__setattr__(self, "decision", "approved" if self.allowed else "denied")


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What a person must be asked. keys: what the answer acceptForSession would allow from now on."""

    method: str
    params: CommandApprovalParams | PatchApprovalParams | ElicitationParams
    keys: tuple[str, ...]


def may_ask(policy: Any, kind: str) -> bool:
    """Return whether an approval policy (PROTOCOL section 4) lets a person be asked.

    kind: of the question, as granular policies name it: `sandbox_approval`, `mcp_elicitations`
    """
    match policy:
        case {"granular": dict(kinds)}:
            return kinds.get(kind) is True
    return bool(policy != "never")
