"""Labels of metrics whose values clients can make up: only words that the operator knows get a series of their own."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

from shared.config.model_catalogue import known_models
from shared.protocol.dynamic_tools import MCP_RESOURCE_TOOLS, SERVER_TOOLS
from shared.telemetry.metrics import OTHER

if TYPE_CHECKING:
    from shared.config import Config

TOOLS = frozenset((*SERVER_TOOLS, *MCP_RESOURCE_TOOLS, "user_shell"))


def bounded(config: Config, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels, with OTHER for a model or a tool that only a client has named."""
    known: dict[str, Set[str]] = {"model": known_models(config) | {"none"}, "tool": TOOLS}
    return {name: value if value in known.get(name, (value,)) else OTHER for name, value in labels.items()}
