"""threadhouse export and import, on a home with a database and nothing that runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli import commands
from shared.errors import InvalidRequest, NotFound
from shared.ids import new_id
from shared.store import Store
from shared.store.histories import History

MODEL_SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]}


@pytest.fixture
def home(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(empty_database, tmp_path / "threadhouse.sqlite3")
    monkeypatch.setenv("THREADHOUSE_HOME", str(tmp_path))
    for name in ("THREADHOUSE_DATABASE_URL", "THREADHOUSE_REDIS_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{home}/threadhouse.sqlite3")
    yield opened
    opened.close()


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def imported(*arguments: str | Path) -> str:
    """The id that an import has printed."""
    result = run("import", *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.split()[-1]


def found(store: Store, thread_id: str) -> History:
    history = store.histories.all_users_find(thread_id)
    assert history is not None
    return history


def rollout_file(folder: Path, **context: Any) -> tuple[Path, str]:
    """A file of the original with one turn, and its thread's id. context: members of its turn_context."""
    thread_id, turn_id = new_id(), new_id()
    asked = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}
    message = {"type": "UserMessage", "id": new_id(), "content": [{"type": "text", "text": "Hi."}]}
    answer = {"type": "AgentMessage", "id": "msg_1", "content": [{"type": "Text", "text": "Hello."}]}
    meta = {"id": thread_id, "timestamp": "2026-11-22T10:00:00Z", "cwd": str(folder), "history_mode": "paginated"}
    payloads: list[tuple[str, dict[str, Any]]] = [
        ("session_meta", {**meta, "model_provider": "elsewhere"}),
        ("event_msg", {"type": "task_started", "turn_id": turn_id}),
        ("turn_context", {"cwd": str(folder), "model": "m", "sandbox_policy": {"type": "read-only"}, **context}),
        ("response_item", asked),
        ("event_msg", {"type": "item_completed", "item": message, "completed_at_ms": 1}),
        ("event_msg", {"type": "item_completed", "item": answer, "completed_at_ms": 2}),
        ("response_item", MODEL_SAID),
        ("event_msg", {"type": "task_complete", "turn_id": turn_id}),
    ]
    lines = [
        {"timestamp": "2026-11-22T10:00:00Z", "ordinal": ordinal, "type": kind, "payload": payload}
        for ordinal, (kind, payload) in enumerate(payloads)
    ]
    path = folder / f"rollout-{thread_id}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path, thread_id


def test_an_imported_thread_has_its_id_its_turns_and_what_the_model_remembers(home: Path, store: Store) -> None:
    path, thread_id = rollout_file(home)

    assert imported(path) == thread_id

    history = found(store, thread_id)
    assert [turn.status for turn in history.turns] == ["completed"]
    assert [row.kind for row in history.items] == ["userMessage", "agentMessage"]
    assert history.items[-1].model_items == [MODEL_SAID]
    listed = store.threads.find(thread_id, "local")
    assert listed is not None
    assert (listed.preview, listed.materialized, listed.status()) == ("Hi.", True, {"type": "notLoaded"})


def test_an_exported_thread_is_imported_as_the_same(home: Path, store: Store) -> None:
    path, thread_id = rollout_file(home)
    imported(path)
    before = found(store, thread_id)

    assert run("export", thread_id, "-o", home / "out.jsonl").exit_code == 0
    store.threads.delete(thread_id, "local")
    assert imported(home / "out.jsonl") == thread_id

    after = found(store, thread_id)
    assert (after.turns, after.items) == (before.turns, before.items)
    assert run("export", thread_id).stdout_bytes == (home / "out.jsonl").read_bytes()


def test_a_thread_that_is_here_already_becomes_a_second_one(home: Path, store: Store) -> None:
    path, thread_id = rollout_file(home)
    imported(path)

    second = imported(path)

    assert second != thread_id
    assert len(found(store, second).items) == len(found(store, thread_id).items) == 2


def test_with_users_a_thread_needs_its_owner(home: Path, store: Store) -> None:
    user = store.users.add("ada")
    path, thread_id = rollout_file(home)

    assert isinstance(run("import", path).exception, InvalidRequest)
    assert isinstance(run("import", path, "--owner", "nobody").exception, NotFound)
    assert imported(path, "--owner", "ada") == thread_id

    assert found(store, thread_id).thread.owner == user.id
    assert store.threads.find(thread_id, "local") is None


def test_settings_that_the_owner_could_not_ask_for_are_the_servers(home: Path, store: Store) -> None:
    store.users.add("ada")
    path, thread_id = rollout_file(home, sandbox_policy={"type": "danger-full-access"}, approval_policy="never")

    result = run("import", path, "--owner", "ada")

    settings = found(store, thread_id).thread.settings
    assert settings["sandboxPolicy"]["type"] == "workspaceWrite"
    assert settings["modelProvider"] == "scripted"
    assert settings["approvalPolicy"] == "never"
    assert thread_id in settings["cwd"]
    assert "does not allow danger-full-access" in result.stderr
    assert "outside of the folders" in result.stderr


def test_a_setting_that_makes_no_sense_is_not_taken_over(home: Path, store: Store) -> None:
    path, thread_id = rollout_file(home, effort="very", summary="concise")

    result = run("import", path)

    settings = found(store, thread_id).thread.settings
    assert (settings["effort"], settings["summary"]) == (None, "concise")
    assert "very" in result.stderr


def test_a_folder_that_is_not_here_is_replaced_by_the_threads_own(home: Path, store: Store) -> None:
    path, thread_id = rollout_file(home, cwd="/nowhere/at/all")

    result = run("import", path)

    assert found(store, thread_id).thread.settings["cwd"] == str(home / "workspaces" / "local" / thread_id)
    assert "there is no folder /nowhere/at/all here" in result.stderr


def test_a_file_that_is_no_rollout_is_refused_and_stores_nothing(home: Path, store: Store) -> None:
    path, thread_id = rollout_file(home)
    path.write_text(path.read_text() + "{}\n{}\n")

    error = run("import", path).exception

    assert isinstance(error, InvalidRequest)
    assert f"{path}: line 9: " in str(error)
    assert store.histories.all_users_find(thread_id) is None


def test_exporting_a_thread_that_is_not_there_says_so(home: Path) -> None:
    result = run("export", new_id(), "-o", home / "out.jsonl")

    assert isinstance(result.exception, NotFound)
    assert not (home / "out.jsonl").exists()
