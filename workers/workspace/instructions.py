"""The instructions of a project (AGENTS.md) and of the server's home, as the model reads them.

One file counts in each folder from the project's root down to the working folder. Their bytes have a budget, which is
spent from the working folder upwards: what is written nearest to the work counts most. Files of a project may be
hostile: they are read by `workers.sandbox.files`, and what cannot be read is left out.

Source: PROTOCOL 11 and the original's own texts; unlike it, the original spends the budget from the root downwards
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.config import Config
from shared.errors import ToolError
from shared.protocol.settings import ThreadSettings
from workers.sandbox import files

OVERRIDE, USUAL = "AGENTS.override.md", "AGENTS.md"
MAX_BYTES = 1024 * 1024  # of the files of a project, whatever is configured; of the one in the server's home

HEADING = "# AGENTS.md instructions"
OPENING, CLOSING = "<INSTRUCTIONS>\n", "\n</INSTRUCTIONS>"
REPLACES = "These AGENTS.md instructions replace all previously provided AGENTS.md instructions.\n\n"
GONE = f"{HEADING}\n\n{OPENING}The previously provided AGENTS.md instructions no longer apply.{CLOSING}"
ADVICE = (
    "Trim your project instructions to fit the budget. If you need to keep them all, increase `project_doc_max_bytes`."
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a thread reads of its project's files.

    max_bytes:      of all files of the project together; 0: none is read
    fallback_names: names that count in a folder without the usual ones, in their order
    """

    max_bytes: int
    fallback_names: Sequence[str]

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the files that are read, of which the first one in a folder counts."""
        return (OVERRIDE, USUAL, *self.fallback_names) if self.max_bytes else ()

    @classmethod
    def of(cls, config: Config, settings: ThreadSettings) -> Limits:
        own_bytes, own_names = settings.get("projectDocMaxBytes"), settings.get("projectDocFallbackFilenames")
        return cls(
            min(config.project_doc_max_bytes if own_bytes is None else own_bytes, MAX_BYTES),
            config.project_doc_fallback_filenames if own_names is None else own_names,
        )


@dataclass(frozen=True, slots=True)
class Instructions:
    """What was found.

    text:     the message for the model; "" when there is nothing to say
    sources:  the files in it, in its order
    warnings: for the user: what was left out
    """

    text: str
    sources: Sequence[Path]
    warnings: Sequence[str]

    def to_add(self, last: str | None) -> str | None:
        """Return the message that makes these the instructions in force; None when they are. last: the last message."""
        if not last or last == GONE:
            return self.text or None
        if last.replace(REPLACES, "", 1) == self.text:
            return None
        return self.text.replace(OPENING, OPENING + REPLACES, 1) or GONE


@dataclass(frozen=True, slots=True)
class _Found:
    """A file that is not blank. text: as far as the budget allows; used, size: bytes of it and of the whole file"""

    path: Path
    text: str
    used: int
    size: int


def read(home: Path, cwd: Path, root: Path, limits: Limits) -> Instructions | None:
    """Return the instructions for work in a folder; None: the tool runner is of a release that cannot look for them.

    home: of the server
    root: nothing of the project above this folder is read; its root is the nearest folder with `.git`, else cwd
    """
    try:
        nearest = files.read_nearest(root, cwd, limits.names, limits.max_bytes) if limits.names else []
    except ToolError:
        return None
    return of_files(home, cwd, limits, nearest)


def of_files(home: Path, cwd: Path, limits: Limits, nearest: Sequence[tuple[Path, bytes, int]]) -> Instructions:
    """Return the instructions for work in a folder.

    nearest: what files.read_nearest found; the nearest files have had the first claim on the budget
    """
    everywhere = _read_home(home)
    found = [_found(*one) for one in reversed(nearest) if one[2]]
    project = [one for one in found if one.used]
    own = everywhere.text.strip() if everywhere is not None else ""
    body = "\n\n".join(one.text for one in project)
    if own:
        body = f"{own}\n\n--- project-doc ---\n\n{body}" if project else own
    heading = f"{HEADING} for {cwd}" if project else HEADING
    return Instructions(
        text=f"{heading}\n\n{OPENING}{body}{CLOSING}" if body else "",
        sources=[one.path for one in ([everywhere] if everywhere is not None else []) + project],
        warnings=_warnings(found, len(body.encode()), limits.max_bytes),
    )


def read_home(home: Path) -> Instructions | None:
    """Return the instructions of a thread whose folder does not exist yet."""
    return read(home, home, home, Limits(0, ()))


def _read_home(home: Path) -> _Found | None:
    """Return the file in the server's home, which is as trusted as its configuration."""
    for name in (OVERRIDE, USUAL):
        try:
            with (home / name).open("rb") as file:
                data = file.read(MAX_BYTES)
        except OSError:
            continue
        found = _found(home / name, data, len(data))
        return found if found.text.strip() else None
    return None


def _found(path: Path, data: bytes, size: int) -> _Found:
    used = codecs.utf_8_decode(data, "replace", len(data) == size)[1]  # without a character that was cut
    return _Found(path, data[:used].decode(errors="replace").replace("\0", "\ufffd"), used, size)


def _warnings(found: Sequence[_Found], body_bytes: int, max_bytes: int) -> list[str]:
    """Return what the user must know of files that were cut or skipped, in the words of the original."""
    warnings = [
        f"Loaded only {one.used} of {one.size} bytes from `{one.path}` in environment `local` under the "
        f"{max_bytes}-byte project instruction budget. {ADVICE}"
        for one in found
        if 0 < one.used < one.size
    ]
    if skipped := [one.path for one in found if not one.used]:
        warnings.append(
            f"Skipped project instructions in environment `local` starting at `{skipped[-1]}` because the "
            f"{max_bytes}-byte budget was exhausted. {ADVICE}"
        )
    if max_bytes and body_bytes > max_bytes:
        warnings.append(
            f"Combined user instructions use {body_bytes} bytes, above the {max_bytes}-byte `project_doc_max_bytes` "
            "setting. The total includes global and thread instructions. The limit applies only to project files."
        )
    return warnings
