"""The audit log: actions that leave no other trace in the database, and actions of the server itself."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from api.app import make_app
from shared.ids import new_id
from shared.store import Store
from tests.builders import Backend, claim_turn, make_thread, make_turn


def actions(store: Store, owner: str = "ada") -> list[tuple[str, str | None]]:
    return [(row.action, row.thread_id) for row in store.audit.all_users_page(owner=owner)]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("fs/writeFile", {"path": "{}/a", "dataBase64": base64.b64encode(b"hello").decode()}),
        ("fs/createDirectory", {"path": "{}/a"}),
        ("fs/remove", {"path": "{}"}),
        ("fs/copy", {"sourcePath": "{}/a", "destinationPath": "{}/b"}),
        ("command/exec", {"command": ["true"], "cwd": "{}"}),
    ],
)
def test_changes_that_workers_make_are_audited(
    backend: Backend, method: str, params: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.events.worker_calls.START_SECONDS", 0.01)
    thread_id = new_id()
    folder = str(backend.config.server.workspaces_dir / "ada" / thread_id)
    filled = {name: value.format(folder) if isinstance(value, str) else value for name, value in params.items()}

    backend.connect("ada").error(method, filled)

    assert actions(backend.store) == [(method, thread_id)]
    (row,) = backend.store.audit.all_users_page(owner="ada")
    assert (row.subject_id, row.detail) == (None, None)


def test_refused_requests_and_reads_are_not_audited(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.events.worker_calls.START_SECONDS", 0.01)
    client = backend.connect("ada")
    own = backend.config.server.workspaces_dir / "ada"

    client.error("fs/remove", {"path": "/etc/passwd"})
    client.error("command/exec", {"command": []})
    client.error("fs/readFile", {"path": str(own / "a")})

    assert actions(backend.store) == []


def test_reports_and_archives_are_audited_with_their_ids(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config, "ada")
    reported = backend.connect("ada").call("feedback/upload", {"classification": "bug", "threadId": thread.id})
    http = make_app(backend.services).test_client()
    users = backend.store.users
    user = users.add("bob")
    bearer = {"Authorization": f"Bearer {users.create_key('bob', 'laptop')}"}

    uploaded = http.post("/v2/workspace/archive", data=b"an archive", headers=bearer)

    (report,) = backend.store.audit.all_users_page(owner="ada")
    expected = ("feedback/upload", thread.id, reported["feedbackId"])
    assert (report.action, report.thread_id, report.subject_id) == expected
    (archive,) = backend.store.audit.all_users_page(owner=user.id)
    assert (archive.action, archive.subject_id) == ("workspace/archive", uploaded.json["archive"])
    assert archive.key_id is not None


def test_an_expired_approval_is_audited_as_the_servers_action(backend: Backend, tmp_path: Path) -> None:
    turn = make_turn(backend.store, make_thread(backend.store, backend.config, "ada"))
    claim = claim_turn(backend.store)
    asked = backend.store.claims.park(claim, "m", new_id(), {}, [], expires_in_ms=-1)

    backend.store.recovery.all_users_expire_approvals({"decision": "decline"})
    backend.store.recovery.all_users_expire_approvals({"decision": "decline"})

    rows = backend.store.audit.all_users_page(owner="operator")
    assert [(row.action, row.thread_id, row.subject_id) for row in rows] == [
        ("serverRequest/expire", turn.thread_id, str(asked.id))
    ]
