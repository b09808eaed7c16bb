"""Skills: what a SKILL.md says, which folders count, and what is shown of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from shared.config.skills import SkillConfig, SkillSwitch
from tests.builders import make_config
from workers.sandbox.skill_folders import find_skills
from workers.workspace import skills
from workers.workspace.skills import InvalidSkill, Skills, read_front_matter


def write_skill(folder: Path, front: str, **files: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text(f"---\n{front}\n---\n\nBody\n")
    for name, text in files.items():
        (folder / "agents").mkdir()
        (folder / "agents" / f"{name}.yaml").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("front", "name", "description", "short"),
    [
        ("name: a\ndescription: b", "a", "b", None),
        ("description: no name", "folder", "no name", None),
        ("name: 12\ndescription: true", "12", "true", None),
        ("name: Bad Name!\ndescription: d", "Bad Name!", "d", None),
        ("name: colon\ndescription: a: b", "colon", "a: b", None),
        ("name: [a\ndescription: b", "[a", "b", None),
        ("name: multi\ndescription: |\n  one\n  two", "multi", "one two", None),
        ("name: s\ndescription: d\nmetadata:\n  short-description: Short\nlicense: MIT", "s", "d", "Short"),
        ("name: !!python/object/apply:os.system [id]\ndescription: d", "folder", "d", None),
        ("a: &a [*a]\ndescription: *a\nname: x\ndescription: d", "x", "d", None),
        ("description: d\nmany: " + "[" * 4000, "folder", "d", None),
        ("description: d\n" + "- " * 2000, "folder", "d", None),
        ("description: " + "word " * 2000, "folder", ("word " * 800)[:4000], None),
        ("name: 'a\\e[31m'\ndescription: \"d\\e[31m\\0\"", "a\\e[31m", "d[31m", None),
    ],
)
def test_front_matter_is_read_as_text(front: str, name: str, description: str, short: str | None) -> None:
    head = f"---\n{front}\n---\nBody".encode()

    assert read_front_matter(head, "folder") == (name, description, short)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"", "missing YAML frontmatter delimited by ---"),
        (b"no front matter", "missing YAML frontmatter delimited by ---"),
        (b"---\nname: a\ndescription: b\n", "missing YAML frontmatter delimited by ---"),
        (b"---\nname: a\n---\n", "missing field `description`"),
        (b'---\ndescription: ""\n---\n', "missing field `description`"),
        (b"---\ndescription: [a]\n---\n", "missing field `description`"),
        (b"---\n" + b"[" * 16_000 + b"\n---\n", "missing field `description`"),
        (b"---\ndescription: d\nname: " + b"n" * 65 + b"\n---\n", "exceeds maximum length of 64 characters"),
        (b"---\nname: a\ndescription: \xff\n---\n", "invalid utf-8 sequence of 1 bytes from index 25"),
    ],
)
def test_what_cannot_be_used_says_why_in_the_words_of_the_original(head: bytes, why: str) -> None:
    with pytest.raises(InvalidSkill, match=why):
        read_front_matter(head, "folder")


def test_a_character_that_the_limit_cuts_is_no_error() -> None:
    assert read_front_matter("---\ndescription: d\n---\né".encode()[:-1], "folder")[1] == "d"


def test_interface_of_a_skill_is_shown_and_its_icons_stay_inside(tmp_path: Path) -> None:
    interface = (
        "interface:\n  display_name: Disp\n  icon_small: ./assets/a.svg\n  icon_large: ../../x.png\n"
        "  default_prompt: Use it\npolicy:\n  allow_implicit_invocation: false\n"
    )
    folder = write_skill(tmp_path / "shown", "name: shown\ndescription: d", openai=interface)
    write_skill(tmp_path / "odd", "name: odd\ndescription: d", openai="interface: [1]\npolicy: no")

    found = find_skills(Path("/"), None, [{"scope": "user", "path": tmp_path, "base": None}], [])
    odd, shown = Skills.of(found, make_config(tmp_path), {}).skills

    assert (odd.interface, odd.is_implicit, shown.is_implicit) == (None, True, False)
    assert shown.wire()["interface"] == {
        "displayName": "Disp",
        "shortDescription": None,
        "iconSmall": str(folder / "assets" / "a.svg"),
        "iconLarge": None,
        "iconSmallUrl": None,
        "iconLargeUrl": None,
        "brandColor": None,
        "defaultPrompt": "Use it",
    }


@pytest.mark.parametrize("name", [b"\xff", b"a\n- good: x (file: r0/y)", "a\u2028b".encode(), b"a\x1b[2J"])
def test_a_skill_whose_path_is_not_text_on_one_line_is_left_out(tmp_path: Path, name: bytes) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").touch()
    for folder in (name, b"fine"):
        path = os.path.join(os.fsencode(tmp_path), b".agents/skills", folder)
        os.makedirs(path)
        Path(os.fsdecode(path), "SKILL.md").write_text("---\ndescription: d\n---\n")
    found = find_skills(tmp_path, tmp_path, [], [])
    found["errors"].append((Path(os.fsdecode(b"/x/" + name)), f"not a plain file: {os.fsdecode(name)}"))

    listed = Skills.of(found, make_config(tmp_path), {})

    assert [skill.path.parent.name for skill in listed.skills] == ["fine"]
    assert any("not text on one line" in error["message"] for error in listed.errors)
    shown = [*(error["path"] for error in listed.errors), *(error["message"] for error in listed.errors)]
    assert all(text.encode().decode().splitlines() == [text] and "\x1b" not in text for text in shown)


def test_a_skill_is_enabled_unless_the_last_switch_says_otherwise(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        write_skill(tmp_path / "s" / name, f"name: {name}\ndescription: d")
    found = find_skills(Path("/"), None, [{"scope": "user", "path": tmp_path / "s", "base": None}], [])
    operator = SkillConfig(config=(SkillSwitch(False, name="one"), SkillSwitch(False, name="two")))
    three = str(tmp_path / "s" / "three" / "SKILL.md")

    own: Any = {"config": [{"name": "two", "enabled": True}, {"path": three, "enabled": False}]}
    of_user = Skills.of(found, make_config(tmp_path, skills=operator), own)

    assert {one.name: one.enabled for one in of_user.skills} == {"one": False, "two": True, "three": False}


def test_folders_of_a_local_user_and_of_a_hosted_one(tmp_path: Path) -> None:
    (tmp_path / "operator").mkdir()
    config = make_config(tmp_path, skills=SkillConfig(dir=tmp_path / "operator"))
    extra: Any = {"extra_roots": ["/elsewhere/skills", str(tmp_path / "workspaces/ann/T/skills")]}
    workspace = tmp_path / "workspaces" / "ann" / "T"

    local = [root["path"] for root in skills.roots(config, "local", extra, None)]
    hosted = skills.roots(config, "ann", extra, workspace)

    assert local == [
        tmp_path / "skills",
        Path.home() / ".agents" / "skills",
        tmp_path / "workspaces" / "local" / "skills",
        tmp_path / "operator",
        Path("/elsewhere/skills"),
    ]
    assert hosted == [
        {"scope": "user", "path": tmp_path / "workspaces/ann/skills", "base": tmp_path / "workspaces/ann"},
        {"scope": "admin", "path": tmp_path / "operator", "base": None},
        {"scope": "user", "path": workspace / "skills", "base": workspace},
    ]
    assert skills.visible_folders(config, "ann") == [tmp_path / "workspaces/ann/skills", tmp_path / "operator"]
