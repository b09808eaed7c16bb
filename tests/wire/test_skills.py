"""Skills over the wire: a local user's as the recording of the original, a hosted user's uploads."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.turns import command, run_turn, start_thread, start_turn, wait_for_end

RECORDING = Path(__file__).parent / "data" / "skills.jsonl"  # of the original 0.171, without its own skills
LIST_BEGINS = """\
<skills_instructions>
## Skills
A skill is a set of local instructions to follow that is stored in a `SKILL.md` file. Below is the list of skills that \
can be used. Each entry includes a name, description, and a short path that can be expanded into an absolute path \
using the skill roots table.
### Skill roots
- `r0` = `/srv/run/work/.codex/skills`
- `r1` = `/srv/run/home/skills`
- `r2` = `/srv/run/user/.agents/skills`
- `r3` = `/srv/run/work/.agents/skills`
### Available skills
- repoagents: Repo agents skill (file: r3/repoagents/SKILL.md)
- repocodex: Repo codex skill (file: r0/repocodex/SKILL.md)
- homeskill: Home skill (file: r1/homeskill/SKILL.md)
- useragents: User agents skill (file: r2/useragents/SKILL.md)
### How to use skills
"""


def write_skill(root: Path, name: str, description: str, body: str = "Body") -> None:
    (root / name).mkdir(parents=True)
    (root / name / "SKILL.md").write_text(f"---\nname: {name}\ndescription: {description}\n---\n\n{body}\n")


def packed(files: dict[str, str]) -> dict[str, str]:
    """Return the params of skills/install for a zip with these files."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return {"dataBase64": base64.b64encode(data.getvalue()).decode()}


def sent_texts(deployment: Deployment, opening: str) -> list[tuple[str, str]]:
    """Return (role, text) of the parts of the last model request that begin so."""
    return [
        (item["role"], part["text"])
        for item in deployment.model.requests[-1].body["input"]
        for part in item.get("content") or []
        if part.get("text", "").startswith(opening)
    ]


def names(client: ProtocolClient, *cwds: str) -> dict[str, bool]:
    """Return the skills of the first folder: name → whether it is enabled."""
    listed = client.request("skills/list", {"cwds": list(cwds)})["data"][0]
    return {skill["name"]: skill["enabled"] for skill in listed["skills"]}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, Path]]:
    """Yield a server of a local user, and the folder with the folders of the recording."""
    folder = tmp_path_factory.mktemp("machine")
    (folder / "home").mkdir()
    with Deployment(folder / "home", server=STEADY, environ={"HOME": str(folder / "user")}) as deployment:
        yield deployment, folder


def test_skills_of_a_local_user_are_those_of_the_recording(machine: tuple[Deployment, Path]) -> None:
    deployment, folder = machine
    work, home = folder / "work", folder / "home" / "skills"
    (work / ".git" / "objects").mkdir(parents=True)
    write_skill(work / ".agents/skills", "repoagents", "Repo agents skill", "Do the thing.")
    write_skill(work / ".codex/skills", "repocodex", "Repo codex skill")
    write_skill(work / "sub/.agents/skills", "subagents", "Sub agents skill")
    write_skill(work / "extra", "extraskill", "Extra")
    write_skill(home, "homeskill", "Home skill", "Home body")
    write_skill(folder / "user/.agents/skills", "useragents", "User agents skill")
    (home / "broken").mkdir()
    (home / "broken" / "SKILL.md").write_text("no front matter\n")
    inputs = [
        [{"type": "text", "text": "$repoagents please"}],
        [
            {"type": "text", "text": "by item"},
            {"type": "skill", "name": "homeskill", "path": str(home / "homeskill/SKILL.md")},
        ],
    ]
    recorded = [json.loads(line.replace("/srv/run", str(folder))) for line in RECORDING.read_text().splitlines()]
    with logs_shown_on_failure(deployment):
        client, other = deployment.connect(), deployment.connect()
        thread_id = start_thread(client, cwd=str(work))
        for entry in recorded:
            if "model" in entry:
                turn = client.request("turn/start", {"threadId": thread_id, "input": inputs.pop(0)})["turn"]
                wait_for_end(client, turn["id"])
                assert sent_texts(deployment, "<skill>")[-1] == ("user", entry["model"])
                assert deployment.model.requests[-1].body["input"][-1]["content"][0]["text"] == entry["model"]
                continue
            if entry["params"].get("forceReload"):
                write_skill(home, "added", "Added skill")
            try:
                answer = {"result": client.request(entry["method"], entry["params"])}
            except RpcError as error:
                answer = {"error": {"code": error.code, "message": error.message}}
            assert {**entry, **answer} == entry
        [(role, listed)] = sent_texts(deployment, "<skills_instructions>")
        assert (role, listed.startswith(LIST_BEGINS.replace("/srv/run", str(folder)))) == ("developer", True)
        assert other.wait_for_method("skills/changed")["params"] == {}

        run_turn(client, thread_id, "after")
        lists = sent_texts(deployment, "<skills_instructions>")
        run_turn(client, thread_id, "nothing new")

    assert [("homeskill" in text, "extraskill" in text) for _, text in lists] == [(True, False), (False, True)]
    assert sent_texts(deployment, "<skills_instructions>") == lists


def test_skills_that_cannot_be_used_are_told(machine: tuple[Deployment, Path]) -> None:
    deployment, folder = machine
    work = folder / "told"
    write_skill(work / ".agents/skills", "off", "Switched off")
    with logs_shown_on_failure(deployment):
        client = deployment.connect()
        client.request("skills/config/write", {"name": "off", "enabled": False})
        thread_id = start_thread(client, cwd=str(work))
        parts = [
            {"type": "text", "text": "$off with $HOME"},
            {"type": "skill", "name": "nope", "path": "/nope/SKILL.md"},
        ]
        turn = client.request("turn/start", {"threadId": thread_id, "input": parts})["turn"]
        wait_for_end(client, turn["id"])

    told = [frame["params"]["message"] for frame in client.notifications if frame["method"] == "warning"]
    assert told == [
        "The skill `off` is disabled; enable it with skills/config/write.",
        "There is no skill `nope` at /nope/SKILL.md; see skills/list.",
    ]
    assert sent_texts(deployment, "<skill>") == []


def test_an_uploaded_skill_serves_all_threads_of_its_user_alone(sqlite_deployment: Deployment) -> None:
    upload = {
        "greet/SKILL.md": "---\nname: greet\ndescription: Greet people\n---\nRun scripts/greet.sh\n",
        "greet/scripts/greet.sh": "echo Hello from a skill",
    }
    with logs_shown_on_failure(sqlite_deployment):
        ada, bob = (sqlite_deployment.connect(token=sqlite_deployment.add_user(name)[1]) for name in ("ada-s", "bob-s"))
        thread_id = start_thread(ada)

        installed = ada.request("skills/install", packed(upload))
        [greet] = ada.request("skills/list", {})["data"][0]["skills"]
        folder = Path(greet["path"]).parent
        run = command(f"sh {folder}/scripts/greet.sh; touch {folder}/new")
        turn_id = start_turn(ada, thread_id, f"$greet {run}")
        wait_for_end(ada, turn_id)
        output = [
            item["output"]
            for item in sqlite_deployment.model.requests[-1].body["input"]
            if item["type"] == "function_call_output"
        ]
        [(_, text)] = sent_texts(sqlite_deployment, "<skill>")
        sees = command(f"cat {folder}/SKILL.md")
        run_turn(bob, start_thread(bob), sees)
        of_bob = sqlite_deployment.model.requests[-1].body["input"]
        with pytest.raises(RpcError, match="no skill 'greet'"):
            bob.request("skills/uninstall", {"name": "greet"})
        ada.request("skills/uninstall", {"name": "greet"})
        run_turn(ada, thread_id, "and now?")
        [_, (_, gone)] = sent_texts(sqlite_deployment, "<skills_instructions>")

    assert installed == {"names": ["greet"]}
    assert greet["scope"] == "user"
    assert "Hello from a skill" in output[-1]
    assert "Read-only file system" in output[-1]
    assert text.endswith("Run scripts/greet.sh\n\n</skill>")
    assert "No such file" in str(of_bob)
    assert "Greet people" not in str(of_bob)
    assert names(bob) == names(ada) == {}
    assert "not available any more" in gone
    assert ada.wait_for_method("skills/changed")["params"] == {}
