"""skill_folders: which SKILL.md files are found, whatever a repository has, and how an upload is unpacked."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ToolError
from workers.sandbox import files, skill_folders
from workers.sandbox.skill_folders import FoundSkills, find_skills, place_skill, read_project


def write_skill(folder: Path, text: str = "---\ndescription: d\n---\n") -> Path:
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text(text)
    return folder / "SKILL.md"


def paths(found: FoundSkills) -> list[Path]:
    return [one["path"] for one in found["skills"]]


def of_user(root: Path, hidden: Path | None = None) -> FoundSkills:
    """Search a folder of a local user."""
    return find_skills(Path("/"), None, [{"scope": "user", "path": root, "base": None}], [hidden] if hidden else [])


def test_a_project_has_skills_in_each_folder_down_to_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "repo" / ".git" / "objects").mkdir(parents=True)
    expected = [
        write_skill(tmp_path / "repo/.codex/skills/a"),
        write_skill(tmp_path / "repo/sub/.codex/skills/also"),
        write_skill(tmp_path / "repo/.agents/skills/b"),
        write_skill(tmp_path / "repo/sub/.agents/skills/c"),
    ]
    write_skill(tmp_path / ".agents/skills/above")
    write_skill(tmp_path / "repo/sub/deep/.agents/skills/below")
    (tmp_path / "repo" / "AGENTS.md").write_text("Here.")

    nearest, found = read_project(Path("/"), tmp_path / "repo" / "sub", ("AGENTS.md",), 100, [], [])

    assert paths(found) == expected
    assert [one["scope"] for one in found["skills"]] == ["repo"] * 4
    assert nearest == [(tmp_path / "repo" / "AGENTS.md", b"Here.", 5)]
    assert found["errors"] == []


def test_folders_within_folders_count_and_hidden_ones_do_not(tmp_path: Path) -> None:
    expected = {write_skill(tmp_path / "deep/er/one"), write_skill(tmp_path / "two"), write_skill(tmp_path / "two/in")}
    write_skill(tmp_path / ".hidden/x")
    write_skill(tmp_path / "1/2/3/4/5/6/7")
    (tmp_path / "lower").mkdir()
    (tmp_path / "lower" / "skill.md").write_text("no")

    assert set(paths(of_user(tmp_path))) == expected


def test_links_lead_a_local_user_to_their_folders_but_not_to_those_of_the_server(tmp_path: Path) -> None:
    root, server = tmp_path / "skills", tmp_path / "server"
    target = write_skill(tmp_path / "src/linked")
    write_skill(server / "secret")
    root.mkdir()
    for name, leads_to in (("linked", target.parent), ("server", server), ("self", root), ("nowhere", Path("/none"))):
        (root / name).symlink_to(leads_to)
    (root / "file").mkdir()
    (root / "file" / "SKILL.md").symlink_to(target)
    (tmp_path / "moved").symlink_to(server)

    assert paths(of_user(root, hidden=server)) == [target]
    assert paths(of_user(tmp_path / "moved", hidden=server)) == []


def test_nothing_leads_out_of_a_project(tmp_path: Path) -> None:
    write_skill(tmp_path / "outside/x")
    repo = tmp_path / "repo"
    (repo / ".git" / "objects").mkdir(parents=True)
    for name in (".codex/skills", ".agents/skills/through"):
        (repo / name).parent.mkdir(parents=True)
        (repo / name).symlink_to(tmp_path / "outside")
    inner = write_skill(repo / ".agents/skills/own")
    shared = write_skill(repo / "shared/one")
    (repo / ".agents/skills/shared").symlink_to("../../shared")
    os.mkfifo(repo / ".agents/skills/SKILL.md")

    found = find_skills(Path("/"), repo, [], [])

    assert paths(found) == [inner, shared]
    assert [(path, why.split(":")[0]) for path, why in found["errors"]] == [
        (repo / ".codex/skills", "the path leads out of its folder")
    ]


def test_limits_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        write_skill(tmp_path / f"s{number}")
    (tmp_path / "s0" / "SKILL.md").write_text("x" * (skill_folders.MAX_FILE_BYTES + 1))

    def errors() -> list[str]:
        root = [skill_folders.SkillRoot(scope="user", path=tmp_path, base=None)]
        search = skill_folders._Search([])  # in this process, where the limits are changed
        monkeypatch.setattr("workers.sandbox.runner.is_runner", True)
        search.run(root[0])
        return [why for _, why in search.errors]

    assert errors() == ["failed to read file: larger than 262144 bytes: s0/SKILL.md"]
    monkeypatch.setattr(skill_folders, "MAX_SKILLS", 2)
    assert errors()[1:] == ["more than 2 skills; the rest is left out"]
    monkeypatch.setattr(skill_folders, "MAX_FOLDERS", 3)
    assert errors()[1:] == ["more than 3 folders; the rest is left out"]
    monkeypatch.setattr(skill_folders, "MAX_ENTRIES", 2)
    assert errors() == ["more than 2 entries: ."]


def tar_of(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def test_a_placed_skill_replaces_the_one_of_its_name_as_a_whole(tmp_path: Path) -> None:
    own = tmp_path / "ann" / "skills"
    place_skill(own, "a", tar_of({"./SKILL.md": b"old", "./old.sh": b"old"}), "")

    place_skill(own, "a", tar_of({"./x/SKILL.md": b"new", "./x/bin/run": b"run", "./y/no": b""}, 0o755), "x")

    assert sorted(str(path.relative_to(own)) for path in own.rglob("*")) == ["a", "a/SKILL.md", "a/bin", "a/bin/run"]
    assert (own / "a" / "SKILL.md").read_text() == "new"
    assert (own / "a" / "bin" / "run").stat().st_mode & 0o777 == 0o755


def test_a_skill_is_there_at_any_time_while_it_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "ann" / "skills"
    place_skill(own, "a", tar_of({"./SKILL.md": b"old"}), "")
    seen: list[str] = []

    def watch(change: Callable[..., None]) -> Callable[..., None]:
        def watched(*args: Any, **options: Any) -> None:
            change(*args, **options)
            file = own / "a" / "SKILL.md"
            seen.append(file.read_text() if file.exists() else "nothing")

        return watched

    monkeypatch.setattr("workers.sandbox.runner.is_runner", True)  # in this process, where the steps can be seen
    for name in ("remove_folder", "rename"):
        monkeypatch.setattr(files, name, watch(getattr(files, name)))

    place_skill(own, "a", tar_of({"./SKILL.md": b"new"}), "")

    assert set(seen) == {"new"}


def test_a_skill_is_not_placed_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "ann").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "ann" / "skills").symlink_to(tmp_path / "outside")

    with pytest.raises(ToolError, match="not a folder of this server"):
        place_skill(tmp_path / "ann" / "skills", "a", tar_of({"./SKILL.md": b""}), "")

    assert list((tmp_path / "outside").iterdir()) == []


def test_a_failed_skill_leaves_nothing(tmp_path: Path) -> None:
    own = tmp_path / "skills"

    with pytest.raises(OSError, match="exists"):
        place_skill(own, "a", tar_of({"./SKILL.md": b"1", "SKILL.md": b"2"}), "")

    assert list(own.iterdir()) == []


def test_what_a_killed_runner_left_is_removed_later(tmp_path: Path) -> None:
    own = tmp_path / "skills"
    old, new = own / ".new-1", own / ".new-2"
    old.mkdir(parents=True)
    new.mkdir()
    os.utime(old, (1, 1))

    place_skill(own, "a", tar_of({"./SKILL.md": b""}), "")

    assert sorted(path.name for path in own.iterdir()) == [".new-2", "a"]
