"""Skills beside the original: which are found, what is said of broken ones, and which texts the model gets."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment
from tests.support.original_server import original_server, run_turn
from tests.support.protocol_client import ProtocolClient

INTERFACE = """\
interface:
  display_name: Shown
  icon_small: ./assets/a.svg
  default_prompt: Use it
policy:
  allow_implicit_invocation: false
"""
OF_USER = {
    "one": "name: dup\ndescription: from home",
    "one/inner": "name: inner\ndescription: inside another",
    "noname": "description: no name",
    "nodesc": "name: nodesc",
    "badyaml": "name: [a\ndescription: b",
    "colon": "name: colon\ndescription: a: b",
    "longname": f"name: {'n' * 70}\ndescription: d",
    "badname": "name: Bad Name!\ndescription: d",
    "multi": "name: multi\ndescription: |\n  line one\n  line two",
    "intname": "name: 12\ndescription: true",
    "deep/er/nested": "name: nested\ndescription: n",
    ".hid": "name: hid\ndescription: hidden",
    "short": "name: short\ndescription: s\nmetadata:\n  short-description: Short",
    "silent": "name: silent\ndescription: s",
}
OF_PROJECT = {
    ".agents/skills/one": "name: dup\ndescription: from repo",
    ".agents/skills/two": "name: two\ndescription: Two skill",
    ".codex/skills/three": "name: three\ndescription: Three",
    "sub/.agents/skills/four": "name: four\ndescription: Four",
    "sub/.codex/skills/five": "name: five\ndescription: Five",
}


def write_skills(root: Path, skills: dict[str, str]) -> None:
    for folder, front in skills.items():
        (root / folder).mkdir(parents=True)
        (root / folder / "SKILL.md").write_text(f"---\n{front}\n---\n\nBody of {folder}\n")


@dataclass
class Side:
    """A client of one of the two servers. home: where its server has the user's skills"""

    client: ProtocolClient
    home: Path

    def same(self, value: Any) -> Any:
        """Return a value as both servers show it."""
        if isinstance(value, str):
            return value.replace(str(self.home), "HOME")
        if isinstance(value, dict):
            return {key: self.same(one) for key, one in value.items()}
        return [self.same(one) for one in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, list[Side]]]:
    """Yield our server, and clients of it and of the original, whose users have the same skills."""
    folder, home = tmp_path_factory.mktemp("user"), tmp_path_factory.mktemp("server")
    for each in (home, folder / ".codex"):
        write_skills(each / "skills", OF_USER)
        (each / "skills" / "silent" / "agents").mkdir()
        (each / "skills" / "silent" / "agents" / "openai.yaml").write_text(INTERFACE)
        (each / "skills" / "nonutf").mkdir()
        (each / "skills" / "nonutf" / "SKILL.md").write_bytes(b"---\nname: a\ndescription: \xff\n---\n")
    write_skills(folder / ".agents" / "skills", {"ua": "name: ua\ndescription: of the user"})
    with (
        Deployment(home, environ={"HOME": str(folder)}) as deployment,
        original_server(folder, deployment.model) as original,
    ):
        yield deployment, [Side(deployment.connect(), home), Side(original, folder / ".codex")]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    write_skills(tmp_path, OF_PROJECT)
    return tmp_path


def test_the_same_skills_and_errors_are_listed(sides: tuple[Deployment, list[Side]], project: Path) -> None:
    listed = []
    for side in sides[1]:
        for cwd in (project, project / "sub", Path("/nowhere")):
            asked = {"cwds": [str(cwd)], "forceReload": True}
            [entry] = side.same(side.client.request("skills/list", asked)["data"])
            entry["skills"] = [skill for skill in entry["skills"] if skill["scope"] != "system"]
            listed.append(entry)

    assert listed[:3] == listed[3:]
    assert len(listed[0]["skills"]) > 10
    assert len(listed[0]["errors"]) == 3


def test_the_model_gets_the_same_list_and_the_same_texts(sides: tuple[Deployment, list[Side]], project: Path) -> None:
    deployment, both = sides
    messages: list[Any] = [
        "hello",
        "$two and ($four), $two. $HOME $unknown $twos",
        "$dup",
        f"[$dup]({project}/.agents/skills/one/SKILL.md)",
        "$silent",
        {"type": "skill", "name": "x", "path": "HOME/skills/noname/SKILL.md"},
    ]
    seen: list[list[Any]] = []
    for side in both:
        thread_id = side.client.request("thread/start", {"cwd": str(project / "sub")})["thread"]["id"]
        for message in messages:
            named = (
                {**message, "path": message["path"].replace("HOME", str(side.home))} if message in messages[5:] else ""
            )
            run_turn(side.client, thread_id, *(["by item", named] if named else [message]))
        parts = [
            (item["role"], side.same(part["text"]))
            for item in deployment.model.requests[-1].body["input"]
            for part in item.get("content") or []
            if part.get("text", "").startswith(("<skill>", "<skills_instructions>"))
        ]
        role, listed = parts[0]
        seen.append([role, skills_of(listed), parts[1:]])

    assert seen[0] == seen[1]
    assert [re.findall("<name>(.*)</name>", text)[0] for _, text in seen[0][2]] == [
        "four",
        "two",
        "dup",
        "silent",
        "noname",
    ]
    assert "silent" not in str(seen[0][1])


def skills_of(listed: str) -> tuple[str, list[str]]:
    """Return (the introduction, the skills with their whole paths) of a list, without those of the system."""
    introduction, _, rest = listed.partition("### Skill roots\n")
    roots, _, rest = rest.partition("### Available skills\n")
    entries = re.split("### How to use skills|</skills_instructions>", rest)[0]
    for alias, root in re.findall("- `(r[0-9]+)` = `(.*)`\n", roots):
        entries = entries.replace(f"(file: {alias}/", f"(file: {root}/")
    return introduction, [line for line in entries.splitlines() if "/.system/" not in line]
