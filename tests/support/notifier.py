"""A notify program that records each call in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson


class Notifier:
    """A notify program. argv: the value of the setting `notify`; calls: the payloads so far, oldest first."""

    def __init__(self, folder: Path) -> None:
        self._calls = folder / "notifier.calls"
        program = folder / "notifier"
        program.write_text(f'#!/bin/sh\n[ $# = 2 ] && printf "%s\\n" "$2" >> {self._calls}\necho noted\n')
        program.chmod(0o700)
        self.argv = [str(program), "first"]

    @property
    def calls(self) -> list[Any]:
        lines = self._calls.read_bytes().splitlines() if self._calls.exists() else []
        return [orjson.loads(line) for line in lines]

    def turn_ids(self) -> list[str]:
        return [call["turn-id"] for call in self.calls]
