"""The audit log: acts that leave no other trace in the database, and those that nobody in particular does."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from api.app import make_app
from shared.ids import new_id
from shared.store import Store
from tests.builders import House, claim_turn, make_thread, make_turn


def acts(store: Store, owner: str = "ada") -> list[tuple[str, str | None]]:
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
def test_what_a_worker_is_asked_to_change_is_accounted_for(
    house: House, method: str, params: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.calls.START_SECONDS", 0.01)  # no worker takes it: that it was asked is what counts
    thread_id = new_id()
    folder = str(house.config.server.workspaces_dir / "ada" / thread_id)
    filled = {name: value.format(folder) if isinstance(value, str) else value for name, value in params.items()}

    house.connect("ada").error(method, filled)

    assert acts(house.store) == [(method, thread_id)]
    (row,) = house.store.audit.all_users_page(owner="ada")
    assert (row.subject_id, row.detail) == (None, None)


def test_what_is_refused_or_only_read_is_not(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.calls.START_SECONDS", 0.01)
    client = house.connect("ada")
    own = house.config.server.workspaces_dir / "ada"

    client.error("fs/remove", {"path": "/etc/passwd"})
    client.error("command/exec", {"command": []})
    client.error("fs/readFile", {"path": str(own / "a")})

    assert acts(house.store) == []


def test_reports_and_archives_are_accounted_for_with_what_they_made(house: House) -> None:
    thread = make_thread(house.store, house.config, "ada")
    reported = house.connect("ada").call("feedback/upload", {"classification": "bug", "threadId": thread.id})
    http = make_app(house.services).test_client()
    key_of = house.store.users
    user = key_of.add("bob")
    bearer = {"Authorization": f"Bearer {key_of.create_key('bob', 'laptop')}"}

    uploaded = http.post("/v2/workspace/archive", data=b"an archive", headers=bearer)

    (report,) = house.store.audit.all_users_page(owner="ada")
    expected = ("feedback/upload", thread.id, reported["feedbackId"])
    assert (report.action, report.thread_id, report.subject_id) == expected
    (archive,) = house.store.audit.all_users_page(owner=user.id)
    assert (archive.action, archive.subject_id) == ("workspace/archive", uploaded.json["archive"])
    assert archive.key_id is not None


def test_a_question_that_expired_is_the_servers_own_act(house: House, tmp_path: Path) -> None:
    turn = make_turn(house.store, make_thread(house.store, house.config, "ada"))
    claim = claim_turn(house.store)
    asked = house.store.turns.park(claim, "m", new_id(), {}, [], expires_in_ms=-1)

    house.store.turns.all_users_expire({"decision": "decline"})
    house.store.turns.all_users_expire({"decision": "decline"})

    rows = house.store.audit.all_users_page(owner="operator")
    assert [(row.action, row.thread_id, row.subject_id) for row in rows] == [
        ("serverRequest/expire", turn.thread_id, str(asked.id))
    ]
