"""The skills of a user: listed by folder, uploaded and removed.

An upload is checked and packed anew before the tool runner unpacks it, as a workspace's archive is.
"""

from __future__ import annotations

import base64
import io
import os
import re
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from shared.config import Config
from shared.errors import InvalidRequest, NotFound
from shared.protocol.skills import FolderSkills, SkillSettings
from workers.calls.running import RunningCall
from workers.sandbox import files, skill_folders
from workers.sandbox.skill_folders import FILE, HEAD_BYTES, MAX_FILE_BYTES
from workers.sources import archive
from workers.workspace import skills
from workers.workspace.scope import workspace_scope

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
TAR_ENTRY_BYTES = 4096  # that a tar of our own has for each entry at most, beside its content


class ListParams(TypedDict):
    """cwds: folders; none: the owner's own. settings: what the owner has set about skills"""

    cwds: Sequence[str]
    settings: SkillSettings


class ListResult(TypedDict):
    """One entry for each folder."""

    data: Sequence[FolderSkills]


class InstallParams(TypedDict):
    """data_base64: an archive"""

    data_base64: str


class InstallResult(TypedDict):
    """names: of the skills that were installed"""

    names: Sequence[str]


class UninstallParams(TypedDict):
    """name: of a skill that was installed"""

    name: str


def list_skills(config: Config, call: RunningCall, params: ListParams) -> ListResult:
    """Return the skills of each folder. A folder that the owner may not name is as one that does not exist."""
    scope, settings = workspace_scope(config, call.owner), params["settings"]
    data: list[FolderSkills] = []
    for named in params["cwds"] or [str(scope.own)]:
        try:
            cwd = scope.cwd(named)
        except (InvalidRequest, OSError):
            cwd = None
        root, workspace = Path("/"), None
        if scope.hosted and cwd is not None and cwd != scope.own:
            root = workspace = scope.own / cwd.relative_to(scope.own).parts[0]
        elif scope.hosted:
            cwd = None  # only workspaces have projects
        found = skill_folders.find_skills(
            root, cwd, skills.roots(config, call.owner, settings, workspace), skills.hidden_folders(config)
        )
        listed = skills.Skills.of(found, config, settings)
        shown = [skill.wire() for skill in listed.skills]
        data.append({"cwd": named, "skills": shown, "errors": listed.errors})
    return {"data": data}


def install(config: Config, call: RunningCall, params: InstallParams) -> InstallResult:
    """Unpack an upload as skills of the owner. Errors: InvalidRequest, and nothing was kept; ToolError, OSError."""
    limits = config.skills
    packed = _Bounded(limits.upload_bytes + limits.upload_entries * TAR_ENTRY_BYTES)
    archive.repack(
        [base64.b64decode(params["data_base64"])], archive.Limits(limits.upload_bytes, limits.upload_entries), packed
    )
    found = _skills_in(packed.getvalue())
    own = skills.own_folder(config, call.owner)
    workspace_scope(config, call.owner)  # makes the owner's folder
    there = {name for name in _installed(own) if name not in found}
    if len(there) + len(found) > limits.per_user:
        raise InvalidRequest(
            f"you would have more than {limits.per_user} skills, the limit of this server ([skills] per_user); remove "
            "some with skills/uninstall"
        )
    for name, prefix in found.items():
        skill_folders.place_skill(own, name, packed.getvalue(), prefix)
    return {"names": sorted(found)}


def uninstall(config: Config, call: RunningCall, params: UninstallParams) -> Mapping[str, object]:
    """Remove a skill that was installed. Errors: NotFound, OSError."""
    name, own = params["name"], skills.own_folder(config, call.owner)
    if NAME.fullmatch(name) is None or name not in _installed(own):
        raise NotFound(f"you have uploaded no skill {name[:64]!r}; skills/list shows them")
    files.remove_folder(own, name, recursive=True)
    return {}


def _installed(own: Path) -> list[str]:
    try:
        return [name for name, _ in files.list_folder(own) if not name.startswith(".")]
    except FileNotFoundError:
        return []


def _skills_in(packed: bytes) -> dict[str, str]:
    """Return the skills of a tar: name → folder in it, "" for the whole. Errors: InvalidRequest."""
    found: dict[str, str] = {}
    folders: set[str] = set()
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as tar:
        for member in tar.getmembers():
            path = os.path.normpath(member.name)
            folders.add(path.partition("/")[0] if "/" in path or member.isdir() else "")
            if member.issym():
                raise _refused(f"it has a link, and skills have none: {path[:200]}")
            if os.path.basename(path) == FILE and path.count("/") <= 1 and member.isfile():
                prefix = os.path.dirname(path)
                name = _name(tar, member, prefix)
                if name in found:
                    raise _refused(f"it has two skills with the name {name}")
                found[name] = prefix
    if not found:
        raise _refused(f"it has no {FILE}, neither at the top nor in a folder at the top")
    if "" in found.values() and len(found) > 1:
        raise _refused(f"it has a {FILE} at the top and more of them below; pack either one skill or folders of skills")
    if "" not in found.values() and (left_out := sorted(folders - set(found.values()))):
        raise _refused(f"it has files outside of the folders with a {FILE}: {left_out[0][:200] or 'at the top'}")
    return found


def _name(tar: tarfile.TarFile, member: tarfile.TarInfo, prefix: str) -> str:
    """Return the name of a skill, after checking its SKILL.md. Errors: InvalidRequest."""
    data = tar.extractfile(member)
    assert data is not None
    where = f"{prefix or '.'}/{FILE}"
    if member.size > MAX_FILE_BYTES:
        raise _refused(f"{where} is larger than {MAX_FILE_BYTES} bytes")
    try:
        name = skills.read_front_matter(data.read(HEAD_BYTES), prefix)[0]
    except skills.InvalidSkill as error:
        raise _refused(f"{where}: {error}") from None
    if NAME.fullmatch(name) is None:
        raise _refused(f"{where}: expected a name of letters, digits, `_`, `.` and `-`, found {name!r}")
    return name


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"the upload is refused, and nothing of it was kept: {why}"[:500])


class _Bounded(io.BytesIO):
    """A tar in memory that does not grow beyond a limit. Errors: InvalidRequest."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._max_bytes = max_bytes

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        if self.tell() + len(data) > self._max_bytes:
            raise _refused("its names are too long")
        return super().write(data)
