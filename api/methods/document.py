"""The page docs/METHODS.md, made from the method tables: `python -m api.methods.document > docs/METHODS.md`."""

from __future__ import annotations

import sys

from api.methods import TABLE
from api.methods.without_effect import EMPTY, EMPTY_REASONS, REFUSED

HEAD = """# Methods

This page lists every request of the Codex app-server protocol (0.171.0, experimental methods included) and what this
server does with it. A running server describes the params and results of its methods at `/docs`.

- *done*: the server does what the method says.
- *empty*: the server answers, and its answer is always the same, by design.
- *refused*: the server answers with the error -32601 and the reason. A method that is not listed gets -32601 too.

This page is generated: `python -m api.methods.document > docs/METHODS.md`.

| Method | State | What it does, or why not |
|---|---|---|
"""


def document() -> str:
    """Return the page as Markdown."""
    rows = {name: ("done", first_line(method.__doc__)) for name, method in TABLE.items()}
    rows |= {name: ("empty", EMPTY_REASONS[name]) for name in EMPTY}
    rows |= {name: ("refused", f"{reason[0].upper()}{reason[1:]}.") for name, reason in REFUSED.items()}
    return HEAD + "".join(f"| `{name}` | {state} | {text} |\n" for name, (state, text) in sorted(rows.items()))


def first_line(docstring: str | None) -> str:
    """Return the first line of a method's docstring without the method's name."""
    line = (docstring or "").split("\n", 1)[0]
    return line.partition(": ")[2] or line


if __name__ == "__main__":
    sys.stdout.write(document())
