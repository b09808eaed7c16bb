"""Automatic reviews: a model judges what a person would be asked (BEHAVIOUR-171 10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METHOD = "item/autoApprovalReview"  # of the stored review; its notifications are METHOD/started and METHOD/completed
STARTED, COMPLETED = f"{METHOD}/started", f"{METHOD}/completed"
WARNING = "guardianWarning"
RISKS = ("low", "medium", "high", "critical")
AUTHORIZATIONS = ("unknown", "low", "medium", "high")
SOURCES = {"unifiedExec": "unified_exec", "shell": "shell"}  # of a command: on the wire → in an approved denial
TYPES = {"command": "command", "applyPatch": "apply_patch"}  # the same of an action
APPROVED_OPENING = "The user has manually approved a specific action that was previously `Rejected`."


def snake_action(action: Mapping[str, Any]) -> dict[str, Any]:
    """Return an action of a notification as it stands in the message about an approved denial."""
    renamed = {**action, "type": TYPES.get(action["type"], action["type"])}
    return {**renamed, "source": SOURCES[action["source"]]} if "source" in action else renamed
