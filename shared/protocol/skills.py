"""Skills on the wire (skills/list), and what a user has set about them.

Source: BEHAVIOUR-171 7, schema SkillsListResponse
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NotRequired, TypedDict, cast

SkillScope = Literal["repo", "user", "admin"]

CHANGED = "skills/changed"
SETTINGS_KEY = "skills"  # of a user's configuration, as in config.toml
MAX_SWITCHES = 500
MAX_EXTRA_ROOTS = 16


class SkillInterface(TypedDict):
    """How a client shows a skill, as its `agents/openai.yaml` says. The icons are files of the skill."""

    displayName: str | None
    shortDescription: str | None
    iconSmall: str | None
    iconLarge: str | None
    iconSmallUrl: None
    iconLargeUrl: None
    brandColor: str | None
    defaultPrompt: str | None


class SkillMetadata(TypedDict):
    """One skill.

    path:    of its SKILL.md on the worker
    scope:   whose it is: "repo" of the project, "user" of the user, "admin" of the operator
    enabled: whether it is offered to the model and may be named
    shortDescription: `metadata.short-description` of SKILL.md
    """

    name: str
    description: str
    shortDescription: NotRequired[str]
    interface: NotRequired[SkillInterface]
    path: str
    scope: SkillScope
    enabled: bool
    pluginId: None


class SkillError(TypedDict):
    """A SKILL.md, or a folder of skills, that cannot be used, and why."""

    path: str
    message: str


class FolderSkills(TypedDict):
    """The skills of a thread that works in a folder: the project's, then the user's, then the operator's."""

    cwd: str
    skills: Sequence[SkillMetadata]
    errors: Sequence[SkillError]


class SkillSwitch(TypedDict):
    """Whether a skill is enabled. It has either `name` or `path`, that of SKILL.md."""

    enabled: bool
    name: NotRequired[str]
    path: NotRequired[str]


class SkillSettings(TypedDict, total=False):
    """The key `skills` of a user's configuration.

    config:      switches; the later ones win
    extra_roots: more folders with skills, absolute paths
    """

    config: Sequence[SkillSwitch]
    extra_roots: Sequence[str]


def own_settings(config: Mapping[str, object]) -> SkillSettings:
    """Return what a user's configuration says of skills."""
    return cast(SkillSettings, config.get(SETTINGS_KEY) or {})


def is_enabled(name: str, path: str, switches: Iterable[SkillSwitch]) -> bool:
    """Return whether a skill is enabled: the last switch that names it decides; without one it is."""
    enabled = True
    for switch in switches:
        if switch.get("path") == path or switch.get("name") == name:
            enabled = switch["enabled"]
    return enabled
