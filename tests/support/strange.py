"""JSON in which one member, at any depth, is missing or another one."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

STRANGE: Sequence[Any] = (None, True, -1, 1.5, 2**63, 1e300, "", "strange", [], ["text"], [{}], {}, {"a": [1]})


def one_member_changed(value: Any, others: Sequence[Any] = STRANGE) -> Iterator[Any]:
    """Yield copies of a value in each of which one member is left out, or one of the others is in its place."""
    for key in value if isinstance(value, dict) else range(len(value)):
        inner = value[key]
        for other in others:
            yield _with(value, key, other)
        if isinstance(value, dict):
            yield {name: member for name, member in value.items() if name != key}
        if isinstance(inner, dict | list):
            for changed in one_member_changed(inner, others):
                yield _with(value, key, changed)


def _with(value: Any, key: Any, inner: Any) -> Any:
    changed = copy.copy(value)
    changed[key] = inner
    return changed
