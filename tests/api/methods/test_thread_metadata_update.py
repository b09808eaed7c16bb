"""thread/metadata/update: facts about a repository."""

from __future__ import annotations

from tests.builders import Backend, make_thread


def test_an_omitted_fact_is_kept_and_null_removes_it(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    client = backend.connect()

    def update(**git_info: str | None) -> object:
        params = {"threadId": thread.id, "gitInfo": git_info}
        return client.call("thread/metadata/update", params)["thread"]["gitInfo"]

    assert update(sha="a", branch="main") == {"sha": "a", "branch": "main", "originUrl": None}
    assert update(branch="dev") == {"sha": "a", "branch": "dev", "originUrl": None}
    assert update(sha=None) == {"sha": None, "branch": "dev", "originUrl": None}
    assert update(branch=None) is None
    assert client.call("thread/read", {"threadId": thread.id})["thread"]["gitInfo"] is None


def test_an_empty_fact_is_refused(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)

    error = backend.connect().error("thread/metadata/update", {"threadId": thread.id, "gitInfo": {"sha": ""}})

    assert error["code"] == -32602
