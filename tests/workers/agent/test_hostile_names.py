"""Names in a repository that are no text: its turns go on, and no prompt, event or row gets them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.errors import InvalidRequest
from shared.store.users import LOCAL_USER
from tests.support import order
from tests.workers.agent.test_turn import outputs, texts
from tests.workers.builders import Bench
from workers.workspace.scope import workspace_scope

NO_UTF8, TWO_LINES = b"\xff", b"a\n- good: x"
PATCH = "*** Begin Patch\n*** Update File: link\n@@\n-old\n+new\n*** End Patch"


@pytest.mark.parametrize("name", [NO_UTF8, TWO_LINES])
def test_a_skill_with_such_a_name_is_left_out(bench: Bench, name: bytes) -> None:
    thread = bench.thread()
    folder = os.path.join(os.fsencode(bench.cwd), b".agents/skills", name)
    os.makedirs(folder)
    Path(os.fsdecode(folder), "SKILL.md").write_text("---\nname: odd\ndescription: d\n---\n")

    turn = bench.run_turn(thread, "hello")

    assert turn.status == "completed"
    assert not any("odd" in text or "good" in text for text in texts(bench, "developer"))
    order.check(bench.events(thread))


@pytest.mark.parametrize("name", [NO_UTF8, TWO_LINES])
def test_a_patch_through_a_link_to_such_a_name_is_refused(bench: Bench, name: bytes) -> None:
    target = Path(os.fsdecode(os.path.join(os.fsencode(bench.cwd), name)))
    target.write_text("old\n")
    (bench.cwd / "link").symlink_to(target.name)
    thread = bench.thread()

    turn = bench.run_turn(thread, f"[[patch {PATCH}]]")

    assert turn.status == "completed"
    assert "a link in this path leads to what has a name that is not text on one line" in outputs(bench)[0]
    assert target.read_text() == "old\n"
    order.check(bench.events(thread))


@pytest.mark.parametrize("name", [NO_UTF8, TWO_LINES])
def test_a_thread_does_not_work_in_a_folder_with_such_a_name(bench: Bench, name: bytes) -> None:
    folder = os.path.join(os.fsencode(bench.cwd), name)
    os.mkdir(folder)
    (bench.cwd / "link").symlink_to(os.fsdecode(name))
    thread = bench.thread(cwd=str(bench.cwd / "link"))

    turn = bench.run_turn(thread, "hello")

    assert turn.status == "failed"
    assert turn.error is not None
    assert "the working directory has a name that is not text on one line" in turn.error["message"]
    order.check(bench.events(thread))
    with pytest.raises(InvalidRequest, match="not text on one line"):
        workspace_scope(bench.workers[0].config, LOCAL_USER).cwd(str(bench.cwd / "link"))
