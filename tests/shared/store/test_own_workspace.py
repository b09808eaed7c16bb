"""A thread's own workspace is where the server that reads the thread has its workspaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.ids import new_id
from shared.store import Store
from shared.store.threads import Filter
from tests.shared.store.records import SETTINGS, begin, claim, thread

ORDER: dict[str, Any] = {"sort_key": "created_at", "descending": True, "after": None, "limit": 10}


@pytest.fixture
def moved(store: Store) -> Store:
    """Return the store as a server opens it that has its workspaces in /new."""
    store.database.set_option("workspaces_dir", "/new")
    return store


def test_store_is_opened_with_the_folder_of_workspaces(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/store.sqlite3", workspaces_dir=Path("/new"))

    for transaction in (store.database.read(), store.database.write()):
        with transaction as connection:
            assert connection.get_execution_options()["workspaces_dir"] == "/new"
    store.close()


@pytest.mark.parametrize(
    ("stored", "here"),
    [
        ("/old/workspaces/ann/{id}", "/new/ann/{id}"),
        ("/old/workspaces/ann/{id}/part", "/new/ann/{id}/part"),
        ("/new/ann/{id}", "/new/ann/{id}"),
        ("/old/workspaces/ann/{id}2", "/old/workspaces/ann/{id}2"),
        ("/old/workspaces/bob/{id}", "/old/workspaces/bob/{id}"),
        ("/home/ann/project", "/home/ann/project"),
    ],
)
def test_only_paths_of_the_threads_own_workspace_move(moved: Store, stored: str, here: str) -> None:
    thread_id = new_id()
    path, expected = stored.format(id=thread_id), here.format(id=thread_id)
    policy = {"type": "workspaceWrite", "writableRoots": ["/srv", path]}
    made = thread(moved, id=thread_id, settings={**SETTINGS, "cwd": path, "sandboxPolicy": policy}, materialized=True)

    found = moved.threads.get(made.id, "ann").settings

    assert (found["cwd"], found["sandboxPolicy"]["writableRoots"]) == (expected, ["/srv", expected])
    assert [one.id for one in moved.threads.page("ann", Filter(cwds=[expected]), **ORDER)] == [made.id]
    begin(moved, made)
    assert moved.read_step(claim(moved)).settings["cwd"] == expected


def test_list_finds_no_thread_that_left_its_workspace(moved: Store) -> None:
    made = thread(moved, settings={**SETTINGS, "cwd": "/srv"}, materialized=True)

    assert moved.threads.page("ann", Filter(cwds=[f"/new/ann/{made.id}"]), **ORDER) == []
