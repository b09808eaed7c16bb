"""`python -m api.methods.document > docs/METHODS.md`: what becomes of each method of the protocol."""

from __future__ import annotations

import sys

from api.methods import TABLE
from api.methods.without_effect import EMPTY, REFUSED

HEAD = """# Methods

What this server does with each request of the Codex app-server protocol (0.169.0, experimental methods included).
This page is generated: `python -m api.methods.document > docs/METHODS.md`.

*done*: it does what it says. *empty*: it answers, and there is never anything in the answer, by design.
*refused*: it answers -32601 with the reason. Any other name answers -32601 too.

| method | state | |
|---|---|---|
"""


def document() -> str:
    """The page as Markdown."""
    rows = {name: ("done", _first_line(method.__doc__)) for name, method in TABLE.items()}
    rows |= dict.fromkeys(EMPTY, ("empty", ""))
    rows |= {name: ("refused", why) for name, why in REFUSED.items()}
    return HEAD + "".join(f"| `{name}` | {state} | {told} |\n" for name, (state, told) in sorted(rows.items()))


def _first_line(text: str | None) -> str:
    """A method's docstring without its name."""
    line = (text or "").split("\n", 1)[0]
    return line.partition(": ")[2] or line


if __name__ == "__main__":
    sys.stdout.write(document())
