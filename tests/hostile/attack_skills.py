"""Steps of an attacker with skills: planted in a repository, uploaded, named by paths of others, and as extra roots."""

from __future__ import annotations

import base64
import io
import tarfile

from tests.hostile.attack_lines import reading_line
from tests.hostile.attack_steps import SHAPES, add_member, execute, running
from tests.hostile.attacker import Attacker

FRONT = "---\ndescription: planted\n---\n"
REPOSITORY = ".agents/skills"


def plant_skills(attacker: Attacker) -> None:
    """Make folders of skills lead elsewhere, in the repository and where uploads are, and read what is found there."""
    aim = attacker.aim(planted=True)
    folder = attacker.random.choice([f"{aim.workspace}/{REPOSITORY}", f"{attacker.attack.folder}/skills"])
    lines = [
        f"ln -sfn {aim.target.folder} {folder}/{aim.name}",
        f"mkdir -p {folder}/x && ln -sf {aim.target.path} {folder}/x/SKILL.md",
        f"mkdir -p {folder}/x/agents && ln -sf {aim.target.path} {folder}/x/agents/openai.yaml",
        f"mkdir -p {folder}/good && printf '{FRONT}' > {folder}/good/SKILL.md",
        f"mv {folder} {folder}.gone; ln -sfn {aim.target.folder} {folder}",
    ]
    cwd = folder if folder.endswith(f"{attacker.attack.folder.name}/skills") else str(aim.workspace)
    execute(attacker, f"mkdir -p {folder}; {attacker.random.choice(lines)}", cwd)


def use_skills(attacker: Attacker) -> None:
    """List skills, and name some that may be there, and files of others."""
    aim = attacker.aim()
    attacker.request("skills/list", {"cwds": [str(aim.workspace), attacker.folder(aim), str(aim.target.folder)]})
    named = attacker.random.choice([attacker.path(aim), f"{aim.target.folder}/SKILL.md"])
    parts = [{"type": "skill", "name": "x", "path": named}]
    text = f"$x $good [$hers]({named}) {running(reading_line(attacker, aim))}"
    attacker.turn(text, *parts, thread_id=aim.thread_id)


def set_roots(attacker: Attacker) -> None:
    aim = attacker.aim()
    roots = [attacker.folder(aim), str(aim.target.folder), f"{aim.workspace}/{REPOSITORY}"]
    attacker.request("skills/extraRoots/set", {"extraRoots": attacker.random.sample(roots, 2)})
    attacker.request("skills/list", {"cwds": [str(aim.workspace)]})


def upload_skill(attacker: Attacker) -> None:
    """Install a skill, whose archive may lead out, under a name that may be a planted link; remove another one."""
    aim = attacker.aim()
    name = attacker.random.choice(["x", "good", "a", "hers"])
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("SKILL.md")
        text = f"---\nname: {name}\ndescription: d\n---\n".encode()
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
        add_member(tar, aim, attacker.random.choice([*SHAPES, *["file"] * len(SHAPES)]))
    attacker.request("skills/install", {"dataBase64": base64.b64encode(packed.getvalue()).decode()})
    attacker.request("skills/uninstall", {"name": attacker.random.choice(["x", "good", "a", "../hers"])})


KINDS = {
    "skills: plant": (3, plant_skills),
    "skills: use": (3, use_skills),
    "skills: roots": (2, set_roots),
    "skills: upload": (3, upload_skill),
}
