"""The distribution of tests among the workers of pytest-xdist: by file, except for the wire tests.

All wire tests that use one database are one unit of work, so that they share one deployment of five processes.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

DATABASE = re.compile(r"^tests/wire/.*\[(?:.*-)?(sqlite|postgres)\b")
# Units of work by the prefix of their name, the longest first, so that no worker starts a long one at the end. Tests of
# the command line come after the tests that share a deployment, which ends when its worker leaves tests/wire.
ORDER = ("wire on ", "tests/api/cli/", "tests/wire/")


class ByFileAndDatabase(LoadScopeScheduling):
    """A scheduler of pytest-xdist that distributes units of work as `unit` names them."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        config.option.loadscopereorder = False  # keep the order of `longest_first`
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)


def unit(nodeid: str) -> str:
    """Return the name of the unit of work that a test belongs to."""
    found = DATABASE.match(nodeid)
    return f"wire on {found[1]}" if found else nodeid.partition("::")[0]


def longest_first(items: list[pytest.Item]) -> None:
    """Sort the tests in the order in which their units of work start."""

    def rank(item: pytest.Item) -> int:
        name = unit(item.nodeid)
        return next((number for number, start in enumerate(ORDER) if name.startswith(start)), len(ORDER))

    items.sort(key=rank)
