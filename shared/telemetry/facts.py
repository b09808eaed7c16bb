"""What the functions of telemetry get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

Attribute = str | int | float | bool | None  # None is left out
FindSettings = Callable[[], Mapping[str, Any] | None]  # of the turn's thread; called when log events are exported


class TurnFacts(Protocol):
    """What events say of each turn."""

    @property
    def id(self) -> str: ...
    @property
    def thread_id(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def options(self) -> Mapping[str, Any]: ...
    @property
    def created_at_ms(self) -> int: ...
