"""`[skills]`: the skills that the operator offers to everybody, and how much users may upload."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, cast

from shared.config.reader import Values
from shared.config.setting import Setting
from shared.config.table import ConfigTable
from shared.protocol.skills import SkillSwitch as Switch


@dataclass(frozen=True)
class SkillSwitch:
    """Whether skills are offered: all with the name, and the one with the path of its SKILL.md."""

    enabled: Annotated[bool, Setting("Whether the skill is offered. Users may decide otherwise for themselves.")]
    name: Annotated[str | None, Setting("The name of the skill.")] = None
    path: Annotated[str | None, Setting("The path of its SKILL.md.")] = None

    @classmethod
    def from_settings(cls, values: Values, table: ConfigTable) -> SkillSwitch:
        """Errors: ConfigError (neither name nor path)."""
        if "name" not in values and "path" not in values:
            raise table.error("name", "the name of a skill, or path instead", None)
        return cls(**values)


@dataclass(frozen=True)
class SkillConfig:
    """Skills: folders of instructions and scripts that agents use (docs/SKILLS.md)."""

    dir: Annotated[
        Path | None,
        Setting(
            "Folder of the operator's skills, which every thread may use. Workers and tool runners need it at this "
            "path, and commands can read it.",
            default="none",
        ),
    ] = None
    config: Annotated[tuple[SkillSwitch, ...], Setting("Skills that are not offered, or are offered again.")] = ()
    upload_bytes: Annotated[
        int,
        Setting("Size of one upload of skills, also when it is unpacked.", unit="bytes", minimum=1, maximum=10 << 20),
    ] = 4 << 20
    upload_entries: Annotated[int, Setting("Files and folders in one upload of skills.", minimum=1)] = 1000
    per_user: Annotated[int, Setting("Skills that one user may have uploaded; 0: uploads are refused.")] = 50

    @property
    def switches(self) -> tuple[Switch, ...]:
        """Return `config` as users' own switches are stored."""
        return tuple(
            cast(Switch, {name: value for name, value in asdict(one).items() if value is not None})
            for one in self.config
        )
