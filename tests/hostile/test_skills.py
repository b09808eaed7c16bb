"""What hostile uploads and repositories try by their skills: to write or read elsewhere, and to exhaust a worker."""

from __future__ import annotations

import base64
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shared.config import Config
from shared.config.skills import SkillConfig
from shared.errors import InvalidRequest, NotFound
from tests.builders import make_config
from workers.calls import skills
from workers.calls.running import RunningCall

GOOD = b"---\ndescription: d\n---\n"
LIMITS = SkillConfig(upload_bytes=300_000, upload_entries=20, per_user=3)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "home").mkdir()
    return make_config(tmp_path / "home", skills=LIMITS)


def call_of(owner: str) -> RunningCall:
    return cast(RunningCall, SimpleNamespace(owner=owner))


def install(config: Config, data: bytes, owner: str = "ann") -> list[str]:
    asked = {"data_base64": base64.b64encode(data).decode()}
    return list(skills.install(config, call_of(owner), cast(skills.InstallParams, asked))["names"])


def listed(config: Config, *cwds: Path, owner: str = "ann") -> Any:
    asked: Any = {"cwds": [str(cwd) for cwd in cwds], "settings": {}}
    return skills.list_skills(config, call_of(owner), asked)["data"][0]


def zip_of(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target)
    return data.getvalue()


def tar_with(name: str, kind: bytes, target: str = "") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        good = tarfile.TarInfo("a/SKILL.md")
        good.size = len(GOOD)
        tar.addfile(good, io.BytesIO(GOOD))
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        tar.addfile(info)
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (zip_of({"a/SKILL.md": GOOD, "../../x": b"1"}), "leads out"),
        (zip_of({"/etc/x": b"1", "a/SKILL.md": GOOD}), "absolute"),
        (zip_of({"a/SKILL.md": GOOD}, {"a/link": "../../../etc"}), "leads out"),
        (zip_of({"a/SKILL.md": GOOD}, {"a/link": "b"}), "has a link"),
        (zip_of({}, {"a/SKILL.md": "b"}), "has a link"),
        (tar_with("a/hard", tarfile.LNKTYPE, "a/SKILL.md"), "hard link"),
        (tar_with("a/device", tarfile.CHRTYPE), "not a plain file"),
        (tar_with("a/pipe", tarfile.FIFOTYPE), "not a plain file"),
        (zip_of({"a/SKILL.md": GOOD, "a/zeros": bytes(10_000_000)}), "more than"),
        (zip_of({"a/SKILL.md": GOOD, **{f"a/{number}": b"" for number in range(30)}}), "more than 20 entries"),
        (zip_of({"a/SKILL.md": GOOD, "a/skill.md": GOOD}), "the same on some systems"),
        (zip_of({"a/SKILL.md": GOOD + b"x" * 270_000}), "larger than 262144 bytes"),
        (zip_of({"a/SKILL.md": b"no front matter"}), "a/SKILL.md: missing YAML frontmatter"),
        (zip_of({"a/SKILL.md": b"---\nname: ../b\ndescription: d\n---\n"}), "expected a name of letters"),
        (zip_of({"a/SKILL.md": b"---\nname: .hidden\ndescription: d\n---\n"}), "expected a name of letters"),
        (
            zip_of({"a/SKILL.md": b"---\nname: b\ndescription: d\n---\n", "b/SKILL.md": GOOD}),
            "two skills with the name b",
        ),
        (zip_of({"a/SKILL.md": GOOD, "b/x": b""}), "outside of the folders with a SKILL.md: b"),
        (zip_of({"a/SKILL.md": GOOD, "x": b""}), "at the top"),
        (zip_of({"SKILL.md": b"---\nname: a\ndescription: d\n---\n", "b/SKILL.md": GOOD}), "more of them below"),
        (zip_of({"SKILL.md": GOOD}), "expected a name of letters"),
        (zip_of({"a/b/SKILL.md": GOOD}), "has no SKILL.md"),
        (zip_of({f"{name}/SKILL.md": GOOD for name in "abcd"}), "more than 3 skills"),
        (b"PK\x03\x04" + b"x" * 100, "refused"),
        (b"", "neither a zip nor a tar"),
    ],
)
def test_an_upload_is_refused_as_a_whole(config: Config, data: bytes, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        install(config, data)

    folder = config.server.workspaces_dir / "ann" / "skills"
    assert not folder.exists() or list(folder.iterdir()) == []
    assert listed(config) == {"cwd": str(config.server.workspaces_dir / "ann"), "skills": [], "errors": []}


def test_uploads_are_those_of_their_user_alone(config: Config) -> None:
    assert install(config, zip_of({"a/SKILL.md": GOOD, "b/SKILL.md": GOOD})) == ["a", "b"]
    assert install(config, zip_of({"SKILL.md": b"---\nname: c\ndescription: d\n---\n", "bin/x": b""})) == ["c"]
    assert install(config, zip_of({"c/SKILL.md": GOOD})) == ["c"]  # replaces

    with pytest.raises(InvalidRequest, match="more than 3 skills"):
        install(config, zip_of({"e/SKILL.md": GOOD}))
    for name in ("a", "../ann/skills/a", ".", "", "SKILL.md"):
        with pytest.raises(NotFound, match="no skill"):
            skills.uninstall(config, call_of("bob"), {"name": name})

    assert [skill["name"] for skill in listed(config)["skills"]] == ["a", "b", "c"]
    assert listed(config, owner="bob")["skills"] == []
    skills.uninstall(config, call_of("ann"), {"name": "a"})
    assert [skill["name"] for skill in listed(config)["skills"]] == ["b", "c"]


def test_a_planted_link_leads_an_upload_and_a_removal_nowhere(config: Config, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "a").mkdir(parents=True)
    (outside / "a" / "kept").write_text("kept")
    install(config, zip_of({"b/SKILL.md": GOOD}))
    own = config.server.workspaces_dir / "ann" / "skills"
    (own / "a").symlink_to(outside / "a")
    (own / "linked").mkdir()
    (own / "linked" / "SKILL.md").symlink_to(outside / "a" / "kept")

    assert [skill["name"] for skill in listed(config)["skills"]] == ["b"]
    install(config, zip_of({"a/SKILL.md": GOOD}))

    assert not (own / "a").is_symlink()
    assert [path.name for path in (outside / "a").iterdir()] == ["kept"]


def test_a_hosted_user_sees_no_skills_of_other_folders(config: Config, tmp_path: Path) -> None:
    home, other = tmp_path / "home", config.server.workspaces_dir / "bob" / "T"
    for folder in (home / "skills" / "of-home", other / ".agents/skills/of-bob", tmp_path / ".agents/skills/of-host"):
        folder.mkdir(parents=True)
        (folder / "SKILL.md").write_bytes(GOOD)

    for cwd in (tmp_path, other, home, Path("/"), Path("relative"), config.server.workspaces_dir):
        assert listed(config, cwd) == {"cwd": str(cwd), "skills": [], "errors": []}


def test_a_hostile_repository_costs_little_and_shows_nothing_of_the_host(config: Config, tmp_path: Path) -> None:
    workspace = config.server.workspaces_dir / "ann" / "T"
    root = workspace / ".agents" / "skills"
    (workspace / ".git" / "objects").mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "SKILL.md").write_bytes(b"---\ndescription: canary\n---\n")
    bombs = {
        "aliases": b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\ndescription: d",
        "brackets": b"description: d\nx: " + b"[" * 15_000,
        "dashes": b"description: d\n" + b"- " * 7000,
        "object": b"description: !!python/object/apply:os.abort []",
    }
    for name, front in bombs.items():
        (root / name).mkdir(parents=True)
        (root / name / "SKILL.md").write_bytes(b"---\n" + front + b"\n---\n")
    (root / "linked").symlink_to(secret)
    (root / "file").mkdir()
    (root / "file" / "SKILL.md").symlink_to(secret / "SKILL.md")
    (root / "pipe").mkdir()
    os.mkfifo(root / "pipe" / "SKILL.md")
    (root / "loop").symlink_to(root)
    (root / "huge").mkdir()
    with (root / "huge" / "SKILL.md").open("wb") as file:
        file.truncate(1 << 40)
    for number in range(1100):
        (root / "many" / f"{number:04}").mkdir(parents=True)

    found = listed(config, workspace)

    assert [skill["name"] for skill in found["skills"]] == ["aliases", "brackets", "dashes"]
    assert "canary" not in str(found)
    assert [(Path(error["path"]).parent.name, error["message"]) for error in found["errors"]] == [
        ("huge", "failed to read file: larger than 262144 bytes: .agents/skills/huge/SKILL.md"),
        ("skills", "more than 1000 entries: .agents/skills/many"),
        ("object", "missing field `description`"),
    ]
