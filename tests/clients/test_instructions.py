"""AGENTS.md beside the original: which files count, what the model reads, what the user is told of the rest."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment import Deployment
from tests.support.original_server import original_server, run_turn
from tests.support.protocol_client import ProtocolClient

HEADING = "# AGENTS.md instructions"
FILES = {
    "AGENTS.md": "ROOT\n",
    "a/AGENTS.md": "hidden\n",
    "a/AGENTS.override.md": "A\n",
    "a/b/NOTES.md": "B\n",
    "a/b/c/AGENTS.md": "hidden\n",
    "a/b/c/AGENTS.override.md": " \n",
    "other/AGENTS.md": "OTHER",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("server")
    (home / "AGENTS.md").write_text("\nEVERYWHERE\n")
    with Deployment(home, settings={"project_doc_fallback_filenames": ["NOTES.md"]}) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def clients(server: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ProtocolClient]]:
    """Return a client of our server, and one of the original."""
    folder = tmp_path_factory.mktemp("original")
    (folder / ".codex").mkdir()
    (folder / ".codex" / "AGENTS.md").write_text("\nEVERYWHERE\n")
    config = 'project_doc_fallback_filenames = ["NOTES.md"]'
    with original_server(folder, server.model, config) as original:
        yield [server.connect(), original]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "none").mkdir()
    return tmp_path


def instructions(server: Deployment) -> list[str]:
    """Return the instructions in the last request to the model."""
    parts = [part for item in server.model.requests[-1].body["input"] for part in item.get("content") or []]
    return [part["text"] for part in parts if part.get("text", "").startswith(HEADING)]


def test_the_same_files_count_and_the_model_reads_the_same(
    server: Deployment, clients: list[ProtocolClient], project: Path
) -> None:
    seen = []
    for client in clients:
        started = client.request("thread/start", {"cwd": str(project / "a/b/c")})
        run_turn(client, started["thread"]["id"], "hello")
        seen.append(([Path(source).name for source in started["instructionSources"]], instructions(server)))

    assert seen[0] == seen[1]
    assert seen[0][0] == ["AGENTS.md", "AGENTS.md", "AGENTS.override.md", "NOTES.md"]
    assert "EVERYWHERE\n\n--- project-doc ---\n\nROOT\n\n\nA\n\n\nB\n\n</INSTRUCTIONS>" in seen[0][1][0]


def test_a_new_folder_brings_new_instructions(server: Deployment, clients: list[ProtocolClient], project: Path) -> None:
    seen = []
    for client in clients:
        thread_id = client.request("thread/start", {"cwd": str(project)})["thread"]["id"]
        for folder in (project, project / "other", project / "other", project / "a"):
            run_turn(client, thread_id, "hello", cwd=str(folder))
        seen.append(instructions(server))

    assert seen[0] == seen[1]
    assert len(seen[0]) == 3


def test_the_nearest_file_survives_where_the_original_drops_it(
    server: Deployment, clients: list[ProtocolClient], project: Path
) -> None:
    (project / "AGENTS.md").write_text("r" * 40 * 1024)
    (project / "a" / "AGENTS.override.md").write_text("n" * 1024)
    told, read = [], []
    for client in clients:
        begin = len(client.received)
        thread_id = client.request("thread/start", {"cwd": str(project / "a")})["thread"]["id"]
        run_turn(client, thread_id, "hello")
        frames = [frame for frame in client.received[begin:] if frame.get("method") == "warning"]
        told.append([text for frame in frames if "project instruction" in (text := frame["params"]["message"])])
        read.append("n" * 1024 in instructions(server)[0])

    assert read == [True, False]
    assert [text.split(" in environment")[0] for text in told[0]] == [
        f"Loaded only 31744 of 40960 bytes from `{project / 'AGENTS.md'}`"
    ]
    assert [text.split(" in environment")[0] for text in told[1]] == [
        f"Loaded only 32768 of 40960 bytes from `{project / 'AGENTS.md'}`",
        "Skipped project instructions",
    ]
