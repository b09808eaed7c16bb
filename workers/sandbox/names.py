"""Names of files as texts. A name may hold any byte but `/` and NUL, and strangers chose the names of a repository.

Every path that enters a prompt, an event or the database, and that no JSON from outside has named, is checked here.
"""

from __future__ import annotations

import re
from pathlib import Path

# What cannot be stored (lone surrogates: bytes that are no UTF-8), or forges lines in a prompt, a diff or a terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
NO_TEXT = "has a name that is not text on one line; rename it"


def is_text(*paths: str | Path) -> bool:
    """Return whether paths are text on one line: UTF-8 without control characters."""
    return not any(_CONTROL.search(str(path)) for path in paths)


def shown(path: str | Path) -> str:
    """Return a path, or a text with one in it, with U+FFFD for each character that is_text refuses."""
    return _CONTROL.sub("\ufffd", str(path))
