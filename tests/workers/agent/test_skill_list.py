"""The list of skills that the model reads: complete, within its budget, and sent again only when it has changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ToolError
from tests.workers.builders import Bench
from workers.agent import skill_list
from workers.agent.skill_list import GONE, OPENING, text_to_add
from workers.sandbox import skill_folders
from workers.workspace.skills import Skill, Skills

WINDOW = 272_000


def skill(name: str, description: str = "d", scope: Any = "user", **values: Any) -> Skill:
    root = Path("/", scope)
    defaults = {"path": root / name / "SKILL.md", "root": root, "base": root, "scope": scope, "enabled": True}
    return Skill(name, description, **{**defaults, **values})


def listed(text: str | None) -> list[str]:
    assert text is not None
    entries: str = text.partition("### Available skills\n")[2].partition("### How to use")[0]
    return entries.splitlines()


def of(*skills: Skill) -> Skills:
    return Skills(skills, list(dict.fromkeys(one.root for one in skills)), [])


def test_the_operator_comes_first_and_what_is_not_offered_is_left_out() -> None:
    text = text_to_add(
        of(
            skill("mine"),
            skill("off", enabled=False),
            skill("silent", is_implicit=False),
            skill("repo", scope="repo"),
            skill("everybody", scope="admin"),
            skill("linked", path=Path("/src/linked/SKILL.md")),
        ),
        None,
        WINDOW,
    )

    assert listed(text) == [
        "- everybody: d (file: r2/everybody/SKILL.md)",
        "- repo: d (file: r1/repo/SKILL.md)",
        "- mine: d (file: r0/mine/SKILL.md)",
        "- linked: d (file: /src/linked/SKILL.md)",
    ]
    assert "- `r0` = `/user`\n- `r1` = `/repo`\n- `r2` = `/admin`\n" in str(text)


def test_a_list_without_skills_is_sent_only_to_replace_another() -> None:
    silent = of(skill("off", enabled=False))
    text = text_to_add(of(skill("one")), None, WINDOW)

    assert text_to_add(of(), None, WINDOW) is None
    assert text_to_add(of(skill("one")), text, WINDOW) is None
    assert text_to_add(silent, text, WINDOW) == GONE
    assert text_to_add(silent, GONE, WINDOW) is None
    assert text_to_add(of(skill("one")), GONE, WINDOW) == text


def test_descriptions_are_cut_to_one_length_within_the_budget() -> None:
    many = [skill(f"many{number:03}", "word " * 60) for number in range(300)]

    lines = listed(text_to_add(of(skill("short", "ok"), *many), None, WINDOW))

    assert len(lines) == 301
    assert lines[0] == "- short: ok (file: r0/short/SKILL.md)"
    assert {len(line) for line in lines[1:]} == {len(lines[1])}
    assert WINDOW * 4 // 50 - 301 <= sum(len(line) + 1 for line in lines) <= WINDOW * 4 // 50


def test_skills_beyond_the_budget_are_counted() -> None:
    lines = listed(text_to_add(of(*(skill(f"s{number:03}") for number in range(100))), None, 10_000))

    assert sum(len(line) + 1 for line in lines[:-1]) <= 10_000 * 4 // 50
    assert lines[-1] == f"- {101 - len(lines)} more skills are not listed, because the list would be too long."


def write_skill(folder: Path, name: str, description: str = "d") -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "SKILL.md").write_text(f"---\nname: {name}\ndescription: {description}\n---\n")


def lists(bench: Bench) -> list[str]:
    """Return the lists in the input of the last request to the model."""
    parts = [
        part["text"]
        for item in bench.model.requests[-1].body["input"]
        if item.get("role") == "developer"
        for part in item["content"]
    ]
    return [text for text in parts if text.startswith(OPENING)]


def test_the_list_comes_once_and_again_when_it_has_changed(bench: Bench) -> None:
    thread, folder = bench.thread(), bench.cwd / ".agents" / "skills"
    bench.run_turn(thread, "none yet")
    counts = [len(lists(bench))]
    write_skill(folder, "one", "First")
    for _ in range(2):
        bench.run_turn(thread, "go on")
        counts.append(len(lists(bench)))
    shutil.rmtree(folder)
    bench.run_turn(thread, "now gone")

    assert counts == [0, 1, 1]
    first, second = lists(bench)
    assert listed(first) == ["- one: First (file: r0/one/SKILL.md)"]
    assert second == GONE


def test_an_older_tool_runner_has_instructions_and_no_skills(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise ToolError("unknown operation")

    monkeypatch.setattr(skill_folders, "read_project", unknown)
    write_skill(bench.cwd / ".agents" / "skills", "one")
    (bench.cwd / "AGENTS.md").write_text("Here.")

    bench.run_turn(bench.thread(), "$one")

    assert lists(bench) == []
    assert "Here." in str(bench.model.requests[-1].body["input"])


def test_how_to_use_skills_is_part_of_the_list() -> None:
    assert str(text_to_add(of(skill("one")), None, WINDOW)).endswith(skill_list.USAGE + skill_list.CLOSING)
