"""The paths that a sandbox depends on, as the tool runner finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ToolError
from workers.sandbox import runner
from workers.sandbox.thread_paths import RealPaths, ThreadPaths, find_real_paths, prepare_thread

NEW_OPERATIONS = ("resolve_here", "make_and_look_here")


@pytest.fixture(params=["this release", "an earlier release"])
def _tool_runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a tool runner of that release: an earlier one fails at operations that it does not know."""
    ask = runner._runner.request

    def answer(name: str, *args: object) -> object:
        if request.param == "an earlier release" and name in NEW_OPERATIONS:
            raise ToolError("KeyError in the tool runner; see the runner's log")
        return ask(name, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(runner._runner, "request", answer)


@pytest.mark.usefixtures("_tool_runner")
def test_thread_gets_its_folder_and_the_real_paths_of_all_others(tmp_path: Path) -> None:
    work, git = tmp_path / "work", tmp_path / "git"
    work.mkdir()
    git.mkdir()
    (work / ".git").write_text(f"gitdir: {git}\n")
    (tmp_path / "link").symlink_to(work)
    roots, others = [tmp_path / "link", tmp_path / "missing"], [tmp_path / "link" / "below"]

    found = prepare_thread(tmp_path / "all", ("me", "one"), tmp_path / "link", roots, others, git=True)

    own = tmp_path / "all" / "me" / "one"
    named_by_git = [work / ".git", git, tmp_path / "missing" / ".git"]
    real = RealPaths([work, tmp_path / "missing"], [work / "below"], named_by_git)
    assert found == ThreadPaths(own, has_cwd=True, real=real)
    assert own.is_dir()
    assert find_real_paths(roots, others, git=False) == real._replace(git=[])


@pytest.mark.usefixtures("_tool_runner")
def test_link_in_place_of_the_threads_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "me").mkdir()
    (tmp_path / "me" / "one").symlink_to("/etc")

    with pytest.raises(ToolError, match="not a folder of this server"):
        prepare_thread(tmp_path, ("me", "one"), tmp_path, [tmp_path], [], git=False)


@pytest.mark.usefixtures("_tool_runner")
def test_missing_folder_to_work_in_is_reported(tmp_path: Path) -> None:
    assert not prepare_thread(tmp_path, ("me", "one"), tmp_path / "gone", [tmp_path], [], git=False).has_cwd
