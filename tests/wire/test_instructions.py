"""AGENTS.md files over the wire: clients are told which count, and what was cut, when a thread begins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import slow_answers
from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.protocol_client import ProtocolClient, RpcError
from tests.support.turns import command, run_turn


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("home")
    (home / "AGENTS.md").write_text("For everybody.")
    environ = slow_answers.awaited(tmp_path_factory.mktemp("environ"))
    with Deployment(home, server=STEADY, environ=environ) as deployment:
        yield deployment


@pytest.fixture
def server(shared_server: Deployment) -> Iterator[Deployment]:
    with logs_shown_on_failure(shared_server):
        yield shared_server


def warnings(client: ProtocolClient, thread_id: str) -> list[str]:
    told = [frame["params"] for frame in client.notifications if frame["method"] == "warning"]
    return [params["message"].split(" bytes")[0] for params in told if params["threadId"] == thread_id]


def start(client: ProtocolClient, **params: Any) -> dict[str, Any]:
    return client.request("thread/start", params)


def test_sources_are_told_when_a_thread_begins_is_resumed_and_forked(server: Deployment, tmp_path: Path) -> None:
    (tmp_path / "AGENTS.md").write_text("Here.")
    client = server.connect()
    sources = [str(server.home / "AGENTS.md"), str(tmp_path / "AGENTS.md")]

    started = start(client, cwd=str(tmp_path))
    thread_id = started["thread"]["id"]
    run_turn(client, thread_id, "hello")
    forked = client.request("thread/fork", {"threadId": thread_id})
    (tmp_path / "AGENTS.override.md").write_text("Instead.")
    resumed = client.request("thread/resume", {"threadId": thread_id})

    assert started["instructionSources"] == forked["instructionSources"] == sources
    assert resumed["instructionSources"] == [sources[0], str(tmp_path / "AGENTS.override.md")]
    assert start(client)["instructionSources"] == sources[:1]


def test_what_the_budget_cuts_is_told_once(server: Deployment, tmp_path: Path) -> None:
    (tmp_path / "NOTES.md").write_text("x" * 100)
    client = server.connect()
    config = {"project_doc_max_bytes": 40, "project_doc_fallback_filenames": ["NOTES.md"]}

    started = start(client, cwd=str(tmp_path), config=config)
    thread_id = started["thread"]["id"]
    run_turn(client, thread_id, "hello")
    run_turn(client, thread_id, "again")

    assert started["instructionSources"][1:] == [str(tmp_path / "NOTES.md")]
    assert warnings(client, thread_id) == ["Loaded only 40 of 100", "Combined user instructions use 77"]
    sent = [part["text"] for item in server.model.requests[-1].body["input"] for part in item.get("content") or []]
    end = "For everybody.\n\n--- project-doc ---\n\n" + "x" * 40 + "\n</INSTRUCTIONS>"
    assert [text.endswith(end) for text in sent].count(True) == 1


def test_users_set_their_own_budget_and_names(server: Deployment, tmp_path: Path) -> None:
    (tmp_path / "NOTES.md").write_text("Here.")
    client = server.connect()

    client.request(
        "config/value/write",
        {"keyPath": "project_doc_fallback_filenames", "value": ["NOTES.md"], "mergeStrategy": "replace"},
    )
    named = start(client, cwd=str(tmp_path))["instructionSources"][1:]
    none = start(client, cwd=str(tmp_path), config={"project_doc_max_bytes": 0})["instructionSources"][1:]
    client.request(
        "config/value/write", {"keyPath": "project_doc_fallback_filenames", "value": None, "mergeStrategy": "replace"}
    )

    assert (named, none) == ([str(tmp_path / "NOTES.md")], [])


@pytest.mark.parametrize(
    "config",
    [
        {"project_doc_max_bytes": -1},
        {"project_doc_max_bytes": "a"},
        {"project_doc_max_bytes": True},
        {"project_doc_fallback_filenames": "NOTES.md"},
        {"project_doc_fallback_filenames": ["../NOTES.md"]},
        {"project_doc_fallback_filenames": [""]},
        {"project_doc_fallback_filenames": ["x"] * 17},
    ],
)
def test_malformed_values_are_refused(server: Deployment, config: dict[str, Any]) -> None:
    with pytest.raises(RpcError, match="project_doc_"):
        start(server.connect(), config=config)


def test_thread_begins_without_a_worker(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    (tmp_path / "AGENTS.md").write_text("Here.")
    with Deployment(tmp_path_factory.mktemp("home"), workers=0) as server:
        assert start(server.connect(), cwd=str(tmp_path))["instructionSources"] == []


def test_hosted_user_is_told_of_the_own_workspace_only(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / "AGENTS.md").write_text("For everybody.")
    (tmp_path / "AGENTS.md").write_text("Of the host.")
    environ = slow_answers.awaited(tmp_path_factory.mktemp("environ"))
    with Deployment(home, server=STEADY, environ=environ) as server, logs_shown_on_failure(server):
        _, key = server.add_user("ada")
        ada = server.connect(token=key)
        thread_id = start(ada)["thread"]["id"]
        run_turn(ada, thread_id, command("echo mine > AGENTS.md"))
        own = ada.request("thread/resume", {"threadId": thread_id})
        with pytest.raises(RpcError):
            start(ada, cwd=str(tmp_path))

    assert own["instructionSources"] == [str(home / "AGENTS.md"), f"{own['cwd']}/AGENTS.md"]
