"""Skills that a message names: found in its text and its items, read whole, and otherwise explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.events.log import Event
from shared.store.turns import NewTurn
from shared.store.writes import Write
from tests.workers.builders import Bench
from workers.agent import skill_mentions
from workers.agent.skill_mentions import named, reader
from workers.journal.turn_writer import TurnWriter
from workers.workspace.skills import Skill, Skills


@pytest.fixture
def skills(tmp_path: Path) -> Skills:
    """Return one, two, off (disabled), and a name that two skills have."""
    made = []
    for folder, name in (("one", "one"), ("two", "two"), ("off", "off"), ("a", "dup"), ("b", "dup")):
        path = tmp_path / folder / "SKILL.md"
        path.parent.mkdir()
        path.write_text(f"Text of {folder}\n")
        made.append(Skill(name, "d", path, tmp_path, tmp_path, "user", enabled=name != "off"))
    return Skills(made, [tmp_path], [])


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value, "text_elements": []}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("$one please", ["one"]),
        ("$two, then ($one). And $two.", ["one", "two"]),
        ("a$one", ["one"]),
        ("$ones $ONE $one:x $one-x $HOME $", []),
        ("[$one](FOLDER/one/SKILL.md) and $one", ["one"]),
        ("[$dup](FOLDER/b/SKILL.md)", ["b"]),
        ("[$dup](skill://FOLDER/a/SKILL.md)", ["a"]),
        ("[$one](/etc/passwd) [$one](FOLDER/two)", []),
    ],
)
def test_names_in_a_text(skills: Skills, tmp_path: Path, message: str, expected: list[str]) -> None:
    refused: list[str] = []

    found = named([text(message.replace("FOLDER", str(tmp_path)))], skills, refused)  # type: ignore[list-item]

    assert [skill.path.parent.name for skill in found] == expected
    assert refused == []


@pytest.mark.parametrize("piece", ["[$", "$a", "[$x](", ("[$" * 98 + "x](") + "[$" * 2048, "$" + "a" * 300])
def test_a_long_text_of_almost_mentions_names_nothing(skills: Skills, piece: str) -> None:
    assert named([text(piece * ((16 << 20) // len(piece)))], skills, []) == []  # type: ignore[list-item]


def test_the_path_of_an_item_decides(skills: Skills, tmp_path: Path) -> None:
    item = {"type": "skill", "name": "other", "path": str(tmp_path / "two" / "SKILL.md")}

    messages = reader(skills, [])([text("$two"), item])  # type: ignore[list-item]

    path = tmp_path / "two" / "SKILL.md"
    expected = f"<skill>\n<name>two</name>\n<path>{path}</path>\nText of two\n\n</skill>"
    assert [message["content"] for message in messages] == [[{"type": "input_text", "text": expected}]]


def test_what_cannot_be_used_says_so(skills: Skills, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []
    (tmp_path / "one" / "SKILL.md").unlink()
    monkeypatch.setattr(skill_mentions, "MAX_CHARACTERS", 5)
    items: list[Any] = [text("$off $dup $one $two"), {"type": "skill", "name": "x", "path": "/etc/passwd"}]

    assert reader(skills, refused)(items) == []
    assert [sentence.replace(str(tmp_path), "") for sentence in refused] == [
        "The skill `off` is disabled; enable it with skills/config/write.",
        "Several skills have the name `dup`, so none was used; name one by its path: /a/SKILL.md, /b/SKILL.md",
        "There is no skill `x` at /etc/passwd; see skills/list.",
        "The skill `one` was left out: its file cannot be read (No such file or directory).",
        "The skill `two` was left out: name fewer skills in one message.",
    ]


def test_texts_are_stored_with_the_message_that_names_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bench.cwd / ".agents" / "skills" / "one"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text("---\ndescription: d\n---\nDo it.\n")
    thread = bench.thread()
    writes: list[list[str]] = []
    store = TurnWriter.store

    def noted(writer: TurnWriter, write: Write, *events: Event, **more: bool) -> None:
        writes.append([item.kind for item in write.append])
        store(writer, write, *events, **more)

    monkeypatch.setattr(TurnWriter, "store", noted)
    bench.run_turn(thread, "$one")

    # One write: a worker that is lost behind it has lost neither, and the next one adds no skill twice.
    assert ["userMessage", "context"] in writes
    assert bench.shown(thread)[0]["content"] == [text("$one")]
    (folder / "SKILL.md").write_text("---\ndescription: d\n---\nChanged.\n")
    bench.run_turn(thread, "go on")
    assert "Do it." in str(bench.model.requests[-1].body["input"])
    assert "Changed." not in str(bench.model.requests[-1].body["input"])


def test_a_message_of_skills_alone_names_them(bench: Bench) -> None:
    folder = bench.cwd / ".agents" / "skills" / "one"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text("---\ndescription: d\n---\nDo it.\n")
    thread = bench.thread()
    item = {"type": "skill", "name": "one", "path": str(folder / "SKILL.md")}
    turn = bench.begin(thread, "hi")
    asked: Any = NewTurn([item], None, {}, {})
    bench.workers[0].store.turns.create_or_steer(thread.id, thread.owner, asked, queued_limit=0)
    bench.run()

    messages = [one for one in bench.model.requests[-1].body["input"] if one.get("role") == "user"]
    assert [part["text"] for part in messages[-2]["content"]] == ["$one"]
    assert messages[-1]["content"][0]["text"].startswith("<skill>")
    assert bench.turn(turn).status == "completed"
