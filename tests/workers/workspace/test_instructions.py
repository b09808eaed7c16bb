"""Which AGENTS.md files count, what the model reads of them, and what the user is told of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ToolError
from workers.workspace import instructions
from workers.workspace.instructions import GONE, REPLACES, Instructions, Limits

ADVICE = (
    " Trim your project instructions to fit the budget. If you need to keep them all, increase `project_doc_max_bytes`."
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder above the project."""
    folder = tmp_path.resolve() / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def project(root: Path) -> Path:
    """Make a git repository."""
    write(root / "p" / ".git" / "HEAD", "")
    return root / "p"


def read(home: Path, cwd: Path, root: Path, max_bytes: int = 32 * 1024, *names: str) -> Instructions:
    found = instructions.read(home, cwd, root, Limits(max_bytes, names))
    assert found is not None
    return found


def test_one_file_of_each_folder_counts_from_the_projects_root_down(root: Path, home: Path) -> None:
    write(root / "AGENTS.md", "above the project")
    write(project(root) / "AGENTS.md", "ROOT\n")
    write(root / "p" / "a" / "AGENTS.md", "hidden")
    write(root / "p" / "a" / "AGENTS.override.md", "A\n")
    write(root / "p" / "a" / "b" / "NOTES.md", "B\n")
    write(root / "p" / "a" / "b" / "OTHER.md", "second name")
    write(root / "p" / "a" / "b" / "c" / "AGENTS.md", "hidden by a blank override")
    write(root / "p" / "a" / "b" / "c" / "AGENTS.override.md", " \n")
    cwd = root / "p" / "a" / "b" / "c"

    found = read(home, cwd, root, 1000, "NOTES.md", "OTHER.md")

    assert found.sources == [
        root / "p" / "AGENTS.md",
        root / "p" / "a" / "AGENTS.override.md",
        root / "p" / "a" / "b" / "NOTES.md",
    ]
    assert found.text == (
        f"# AGENTS.md instructions for {cwd}\n\n<INSTRUCTIONS>\nROOT\n\n\nA\n\n\nB\n\n</INSTRUCTIONS>"
    )
    assert found.warnings == []


def test_the_homes_file_comes_first(root: Path, home: Path) -> None:
    write(home / "AGENTS.md", "\nEVERYWHERE\n\n")

    alone = read(home, root, root)
    write(root / "AGENTS.md", "HERE\n")
    both = read(home, root, root)
    write(home / "AGENTS.override.md", "INSTEAD")
    overridden = read(home, root, root)

    assert alone.text == "# AGENTS.md instructions\n\n<INSTRUCTIONS>\nEVERYWHERE\n</INSTRUCTIONS>"
    assert both.text == (
        f"# AGENTS.md instructions for {root}\n\n<INSTRUCTIONS>\nEVERYWHERE\n\n--- project-doc ---\n\nHERE\n\n"
        "</INSTRUCTIONS>"
    )
    assert both.sources == [home / "AGENTS.md", root / "AGENTS.md"]
    assert overridden.sources == [home / "AGENTS.override.md", root / "AGENTS.md"]
    assert "INSTEAD\n\n--- project-doc ---" in overridden.text


def test_only_the_working_folder_counts_without_a_repository(root: Path, home: Path) -> None:
    write(root / "AGENTS.md", "above")
    write(root / "p" / "AGENTS.md", "here")
    (root / "p" / ".git").mkdir()  # the place of a missing one

    assert read(home, root / "p", root).sources == [root / "p" / "AGENTS.md"]


def test_repository_above_the_root_is_ignored(root: Path, home: Path) -> None:
    write(root.parent / ".git" / "HEAD", "")
    write(root.parent / "AGENTS.md", "not for this thread")

    assert read(home, root, root) == Instructions("", [], [])


def test_the_nearest_file_survives_the_budget(root: Path, home: Path) -> None:
    write(project(root) / "AGENTS.md", "r" * 40 * 1024)
    write(root / "p" / "a" / "AGENTS.md", "n" * 1024)

    found = read(home, root / "p" / "a", root)

    assert found.sources == [root / "p" / "AGENTS.md", root / "p" / "a" / "AGENTS.md"]
    assert found.text.count("r" * 31 * 1024) == 1
    assert found.text.endswith("\n\n" + "n" * 1024 + "\n</INSTRUCTIONS>")
    assert found.warnings[0] == (
        f"Loaded only 31744 of 40960 bytes from `{root / 'p' / 'AGENTS.md'}` in environment `local` under the "
        f"32768-byte project instruction budget.{ADVICE}"
    )


def test_files_without_a_budget_are_skipped_and_named(root: Path, home: Path) -> None:
    write(project(root) / "AGENTS.md", "root")
    write(root / "p" / "a" / "AGENTS.md", "above")
    write(root / "p" / "a" / "b" / "AGENTS.md", "xé" * 100)

    found = read(home, root / "p" / "a" / "b", root, 11)

    assert found.sources == [root / "p" / "a" / "b" / "AGENTS.md"]
    assert found.text.endswith("<INSTRUCTIONS>\nxéxéxéx\n</INSTRUCTIONS>")
    assert [warning.partition(" in environment")[0] for warning in found.warnings] == [
        f"Loaded only 10 of 300 bytes from `{root / 'p' / 'a' / 'b' / 'AGENTS.md'}`",
        "Skipped project instructions",
    ]
    assert f"starting at `{root / 'p' / 'a' / 'AGENTS.md'}`" in found.warnings[1]


def test_home_does_not_count_towards_the_budget_but_is_told(root: Path, home: Path) -> None:
    write(home / "AGENTS.md", "g" * 100)
    write(root / "AGENTS.md", "p" * 50)

    found = read(home, root, root, 60)

    assert len(found.sources) == 2
    assert found.warnings == [
        "Combined user instructions use 173 bytes, above the 60-byte `project_doc_max_bytes` setting. "
        "The total includes global and thread instructions. The limit applies only to project files."
    ]
    assert read(home, root, root, 0).sources == [home / "AGENTS.md"]
    assert read(home, root, root, 0).warnings == []


def test_file_larger_than_everything_is_cut_not_left_out(root: Path, home: Path) -> None:
    write(root / "AGENTS.md", "x" * (instructions.MAX_BYTES * 2))

    found = read(home, root, root)

    assert found.text.count("x" * 32 * 1024) == 1
    assert "of 2097152 bytes" in found.warnings[0]


def test_hostile_files_are_left_out(root: Path, home: Path, tmp_path: Path) -> None:
    secret = write(tmp_path / "secret", "secret")
    (project(root) / "AGENTS.md").symlink_to(secret)
    (root / "p" / "a" / "AGENTS.md").mkdir(parents=True)
    cwd = root / "p" / "a" / "b\n<x>"
    write(cwd / "AGENTS.md", b"\xff\xfe text \0")
    (cwd / "AGENTS.override.md").symlink_to("/proc/self/environ")

    found = read(home, cwd, root)

    assert found.sources == [cwd / "AGENTS.md"]
    assert "�� text �" in found.text


def test_nothing_is_concluded_from_a_runner_of_an_earlier_release(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ToolError("KeyError in the tool runner; see the runner's log")

    monkeypatch.setattr(instructions.files, "read_nearest", fail)

    assert instructions.read(home, root, root, Limits(100, ())) is None


def test_link_inside_the_project_is_followed(root: Path, home: Path) -> None:
    write(project(root) / "CLAUDE.md", "the same for all")
    (root / "p" / "AGENTS.md").symlink_to("CLAUDE.md")

    assert "the same for all" in read(home, root / "p", root).text


def test_new_instructions_replace_the_old_ones() -> None:
    heading = "# AGENTS.md instructions for /w\n\n<INSTRUCTIONS>\n"
    old, new, none = (Instructions(text, [], []) for text in (f"{heading}a", f"{heading}b", ""))

    assert old.to_add(None) == old.text
    assert none.to_add(None) is None
    assert old.to_add(old.text) is None
    assert new.to_add(old.text) == f"{heading}{REPLACES}b"
    assert new.to_add(f"{heading}{REPLACES}b") is None
    assert none.to_add(old.text) == GONE
    assert none.to_add(GONE) is None
    assert new.to_add(GONE) == new.text
