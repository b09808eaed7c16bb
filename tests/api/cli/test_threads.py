"""threadhouse export and import, in a home with a database and no running server."""

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

MODEL_ITEM = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]}


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


def import_file(*arguments: str | Path) -> str:
    """Import a file; return the id that the command prints."""
    result = run("import", *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.split()[-1]


def find_history(store: Store, thread_id: str) -> History:
    found = store.histories.all_users_find(thread_id)
    assert found is not None
    thread, turns = found
    return History(thread, turns, [row for turn in turns for row in store.items.of_turn(turn.id)])


def rollout_file(folder: Path, **context: Any) -> tuple[Path, str]:
    """Write a Codex rollout file with one turn; return its path and thread id. context: members of its turn_context."""
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
        ("response_item", MODEL_ITEM),
        ("event_msg", {"type": "task_complete", "turn_id": turn_id}),
    ]
    lines = [
        {"timestamp": "2026-11-22T10:00:00Z", "ordinal": ordinal, "type": kind, "payload": payload}
        for ordinal, (kind, payload) in enumerate(payloads)
    ]
    path = folder / f"rollout-{thread_id}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path, thread_id


def test_import_keeps_the_id_the_turns_and_the_model_items(home: Path, store: Store) -> None:
    path, thread_id = rollout_file(home)

    assert import_file(path) == thread_id

    history = find_history(store, thread_id)
    assert [turn.status for turn in history.turns] == ["completed"]
    assert [row.kind for row in history.items] == ["userMessage", "agentMessage"]
    assert history.items[-1].model_items == [MODEL_ITEM]
    listed = store.threads.find(thread_id, "local")
    assert listed is not None
    assert (listed.preview, listed.materialized, listed.status()) == ("Hi.", True, {"type": "notLoaded"})


def test_an_exported_thread_is_unchanged_after_import(home: Path, store: Store) -> None:
    path, thread_id = rollout_file(home)
    import_file(path)
    before = find_history(store, thread_id)

    assert run("export", thread_id, "-o", home / "out.jsonl").exit_code == 0
    store.threads.delete(thread_id, "local")
    assert import_file(home / "out.jsonl") == thread_id

    after = find_history(store, thread_id)
    assert (after.turns, after.items) == (before.turns, before.items)
    assert run("export", thread_id).stdout_bytes == (home / "out.jsonl").read_bytes()


def test_importing_a_thread_again_creates_a_second_thread(home: Path, store: Store) -> None:
    path, thread_id = rollout_file(home)
    import_file(path)

    second = import_file(path)

    assert second != thread_id
    assert len(find_history(store, second).items) == len(find_history(store, thread_id).items) == 2


def test_import_requires_an_owner_when_there_are_users(home: Path, store: Store) -> None:
    user = store.users.add("ada")
    path, thread_id = rollout_file(home)

    assert isinstance(run("import", path).exception, InvalidRequest)
    assert isinstance(run("import", path, "--owner", "nobody").exception, NotFound)
    assert import_file(path, "--owner", "ada") == thread_id

    assert find_history(store, thread_id).thread.owner == user.id
    assert store.threads.find(thread_id, "local") is None


def test_import_replaces_settings_that_the_owner_may_not_use(home: Path, store: Store) -> None:
    store.users.add("ada")
    path, thread_id = rollout_file(home, sandbox_policy={"type": "danger-full-access"}, approval_policy="never")

    result = run("import", path, "--owner", "ada")

    settings = find_history(store, thread_id).thread.settings
    assert settings["sandboxPolicy"]["type"] == "workspaceWrite"
    assert settings["modelProvider"] == "scripted"
    assert settings["approvalPolicy"] == "never"
    assert thread_id in settings["cwd"]
    assert "does not allow danger-full-access" in result.stderr
    assert "outside of the folders" in result.stderr


def test_import_skips_an_invalid_setting(home: Path, store: Store) -> None:
    path, thread_id = rollout_file(home, effort="very", summary="concise")

    result = run("import", path)

    settings = find_history(store, thread_id).thread.settings
    assert (settings["effort"], settings["summary"]) == (None, "concise")
    assert "very" in result.stderr


def test_import_replaces_a_missing_folder_with_the_workspace_of_the_thread(home: Path, store: Store) -> None:
    path, thread_id = rollout_file(home, cwd="/nowhere/at/all")

    result = run("import", path)

    assert find_history(store, thread_id).thread.settings["cwd"] == str(home / "workspaces" / "local" / thread_id)
    assert "there is no folder /nowhere/at/all on this host" in result.stderr


def test_import_refuses_an_invalid_file_and_stores_nothing(home: Path, store: Store) -> None:
    path, thread_id = rollout_file(home)
    path.write_text(path.read_text() + "{}\n{}\n")

    error = run("import", path).exception

    assert isinstance(error, InvalidRequest)
    assert f"{path}: line 9: " in str(error)
    assert store.histories.all_users_find(thread_id) is None


def test_export_fails_for_an_unknown_thread(home: Path) -> None:
    result = run("export", new_id(), "-o", home / "out.jsonl")

    assert isinstance(result.exception, NotFound)
    assert not (home / "out.jsonl").exists()
