"""The skills of a thread: folders with a SKILL.md, from its project, its user and the operator.

The tool runner finds and reads them (workers.sandbox.skill_folders). What they say may come from strangers: the YAML in
front is read as plain text only, without tags, numbers and dates, and within limits.

Source: BEHAVIOUR-171 7
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

from shared.config import Config
from shared.protocol.skills import (
    SkillError,
    SkillInterface,
    SkillMetadata,
    SkillScope,
    SkillSettings,
    is_enabled,
)
from shared.store.users import LOCAL_USER
from workers.sandbox import files, names
from workers.sandbox.skill_folders import MAX_FILE_BYTES, FoundSkill, FoundSkills, SkillRoot
from workers.workspace.scope import KERNEL_FOLDERS, server_folders

OWN = "skills"  # the folder of what a user has uploaded, beside the workspaces of their threads
OF_HOME = "skills"  # in the server's home, of its local user
OF_USER = Path(".agents", "skills")  # in the home of the local user themselves
FENCE = "---"
MAX_YAML_CHARACTERS = 4096
MAX_BRACKETS = 64
MAX_NAME_CHARACTERS = 64
MAX_DESCRIPTION_CHARACTERS = 4000
ORDER: Mapping[str, int] = {"repo": 0, "user": 1, "admin": 2}


class InvalidSkill(Exception):
    """A SKILL.md that cannot be used; str() says why."""


@dataclass(frozen=True, slots=True)
class Skill:
    """One skill.

    path:        of its SKILL.md
    root:        the folder of skills that it is in
    base:        a folder above it without links, to open it from
    short:       `metadata.short-description`
    interface:   how clients show it
    is_implicit: whether the model may use it unless the user names it
    """

    name: str
    description: str
    path: Path
    root: Path
    base: Path
    scope: SkillScope
    enabled: bool
    short: str | None = None
    interface: SkillInterface | None = None
    is_implicit: bool = True

    def wire(self) -> SkillMetadata:
        """Return it as skills/list shows it."""
        shown: SkillMetadata = {
            "name": self.name,
            "description": self.description,
            "path": str(self.path),
            "scope": self.scope,
            "enabled": self.enabled,
            "pluginId": None,
        }
        if self.short is not None:
            shown["shortDescription"] = self.short
        if self.interface is not None:
            shown["interface"] = self.interface
        return shown

    def read(self) -> str:
        """Return the whole SKILL.md as it is now. Errors: ToolError, OSError."""
        data = files.read_bytes(self.base, self.path.relative_to(self.base), MAX_FILE_BYTES, follow_links=False)
        return data.decode(errors="replace").replace("\0", "\ufffd")


@dataclass(frozen=True, slots=True)
class Skills:
    """The skills of one folder: the project's, then the user's, then the operator's, by their names.

    roots:  the folders that they are in, in the order of the search
    errors: files and folders that cannot be used
    """

    skills: Sequence[Skill]
    roots: Sequence[Path]
    errors: Sequence[SkillError]

    @classmethod
    def of(cls, found: FoundSkills, config: Config, settings: SkillSettings) -> Skills:
        """Return what was found. settings: of the user"""
        switches = [*config.skills.switches, *settings.get("config", ())]
        skills: dict[Path, Skill] = {}
        errors: list[SkillError] = [
            {"path": names.shown(path), "message": names.shown(why)} for path, why in found["errors"]
        ]
        for one in found["skills"]:
            try:
                if not names.is_text(one["path"], one["root"]):
                    raise InvalidSkill(f"it {names.NO_TEXT}")
                name, description, short = read_front_matter(one["head"], one["path"].parent.name)
            except InvalidSkill as error:
                errors.append({"path": names.shown(one["path"]), "message": str(error)})
                continue
            interface, is_implicit = _interface(one)
            skills.setdefault(
                one["path"],
                Skill(
                    name=name,
                    description=description,
                    path=one["path"],
                    root=one["root"],
                    base=one["base"],
                    scope=cast(SkillScope, one["scope"]),
                    enabled=is_enabled(name, str(one["path"]), switches),
                    short=short,
                    interface=interface,
                    is_implicit=is_implicit,
                ),
            )
        return cls(
            skills=sorted(skills.values(), key=lambda skill: (ORDER[skill.scope], skill.name, str(skill.path))),
            roots=list(dict.fromkeys(one["root"] for one in found["skills"])),
            errors=sorted(errors, key=lambda error: error["path"]),
        )


def own_folder(config: Config, owner: str) -> Path:
    """Return the folder of the skills that a user has uploaded."""
    return Path(os.path.realpath(config.server.workspaces_dir)) / owner / OWN


def visible_folders(config: Config, owner: str) -> list[Path]:
    """Return the folders of skills that commands of a user could not read otherwise, as real paths."""
    folders = [own_folder(config, owner)]
    if owner == LOCAL_USER:
        folders.append(Path(os.path.realpath(config.home)) / OF_HOME)
    if config.skills.dir is not None:
        folders.append(Path(os.path.realpath(config.skills.dir)))
    return folders


def hidden_folders(config: Config) -> list[Path]:
    """Return the folders that no link in a folder of skills is followed to."""
    return [Path(os.path.realpath(path)) for path in server_folders(config)] + list(KERNEL_FOLDERS)


def roots(config: Config, owner: str, settings: SkillSettings, workspace: Path | None) -> list[SkillRoot]:
    """Return the folders that a user's threads have skills from, beside their project.

    workspace: of a hosted user's thread; their extra roots count only in it, because its commands see no others
    """
    is_local = owner == LOCAL_USER
    found: list[SkillRoot] = []
    if is_local:
        user_home = Path(os.path.expanduser("~"))  # Path.home() raises an error where the account has none
        for path in (Path(os.path.realpath(config.home)) / OF_HOME, user_home / OF_USER):
            found.append({"scope": "user", "path": path, "base": None})
    own = own_folder(config, owner)
    found.append({"scope": "user", "path": own, "base": own.parent})
    if config.skills.dir is not None:
        found.append({"scope": "admin", "path": config.skills.dir, "base": None})
    extra = settings.get("extra_roots")
    hidden = hidden_folders(config) if is_local and extra else []
    for path in map(Path, extra or ()):
        if is_local and not any(path.is_relative_to(folder) for folder in hidden):
            found.append({"scope": "user", "path": path, "base": None})
        elif workspace is not None and path.is_relative_to(workspace):
            found.append({"scope": "user", "path": path, "base": workspace})
    return found


def read_front_matter(head: bytes, folder: str) -> tuple[str, str, str | None]:
    """Return (name, description, short description) of a SKILL.md. folder: its name, for a skill without a name.

    Errors: InvalidSkill, in the words of the original
    """
    lines = _text(head).splitlines()
    closing = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == FENCE), None)
    if not lines or lines[0].rstrip() != FENCE or closing is None:
        raise InvalidSkill("missing YAML frontmatter delimited by ---")
    values = _yaml("\n".join(lines[1:closing])) or _plain(lines[1:closing])
    name, description = _line(values.get("name")) or _line(folder), _line(values.get("description"))
    metadata = values.get("metadata")
    short = _line(metadata.get("short-description")) if isinstance(metadata, dict) else ""
    if not description:
        raise InvalidSkill("missing field `description`")
    if len(name) > MAX_NAME_CHARACTERS:
        raise InvalidSkill(f"invalid name: exceeds maximum length of {MAX_NAME_CHARACTERS} characters")
    return name, description[:MAX_DESCRIPTION_CHARACTERS], short[:MAX_DESCRIPTION_CHARACTERS] or None


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":  # a character that was cut at the limit
            return data[: error.start].decode("utf-8-sig")
        raise InvalidSkill(
            f"failed to read file: invalid utf-8 sequence of {error.end - error.start} bytes from index {error.start}"
        ) from None


@lru_cache(maxsize=256)  # the same files are read in each turn
def _yaml(text: str) -> Mapping[str, object] | None:
    """Return a mapping of texts, lists and mappings; None when it is none.

    BaseLoader makes nothing but these, and an alias stays a reference, so a short text cannot become a large value. The
    time that a text takes grows with its length times the depth of its brackets.
    """
    if len(text) > MAX_YAML_CHARACTERS or text.count("[") + text.count("{") > MAX_BRACKETS:
        return None
    import yaml  # most servers have no skills

    try:
        loaded = yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return loaded if isinstance(loaded, dict) else None


def _plain(lines: Sequence[str]) -> Mapping[str, object]:
    """Return lines `key: value` that are no YAML, as a description with a colon is not."""
    pairs = (line.partition(":") for line in lines if not line.startswith((" ", "#")))
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _line(value: object) -> str:
    """Return a text as one line; "" when it is none."""
    text = " ".join(value.split()) if isinstance(value, str) else ""
    return "".join(char for char in text if char.isprintable())


def _interface(found: FoundSkill) -> tuple[SkillInterface | None, bool]:
    """Return what agents/openai.yaml says: how clients show the skill, and whether the model may choose it."""
    try:
        values = _yaml(found["interface"].decode()) or {}
    except UnicodeDecodeError:
        return None, True
    policy, given = values.get("policy"), values.get("interface")
    is_implicit = not (isinstance(policy, dict) and policy.get("allow_implicit_invocation") == "false")
    if not isinstance(given, dict):
        return None, is_implicit

    def text(key: str) -> str | None:
        return _line(given.get(key))[:MAX_DESCRIPTION_CHARACTERS] or None

    def icon(key: str) -> str | None:
        named = text(key)
        folder = found["path"].parent
        path = Path(os.path.normpath(folder / named)) if named else folder
        return str(path) if path != folder and path.is_relative_to(folder) else None

    return {
        "displayName": text("display_name"),
        "shortDescription": text("short_description"),
        "iconSmall": icon("icon_small"),
        "iconLarge": icon("icon_large"),
        "iconSmallUrl": None,
        "iconLargeUrl": None,
        "brandColor": text("brand_color"),
        "defaultPrompt": text("default_prompt"),
    }, is_implicit
