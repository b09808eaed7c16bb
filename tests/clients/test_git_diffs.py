"""gitDiffToRemote beside the original: `git apply` takes ours whole; the original's only where it has text alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment import Deployment
from tests.support.original_server import original_server
from tests.support.protocol_client import ProtocolClient, RpcError

# name: (file name, old and new content, whether git takes the original's diff)
CASES = {
    "text": ("naïve file.txt", b"one\n", b"two\n", True),
    "binary": ("image.bin", b"\0one", b"\0two", False),
    "Latin-1": ("latin.txt", b"caf\xe9\none\n", b"caf\xe9\ntwo\n", False),
}


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ProtocolClient]]:
    """Return a client of our server, and one of the original."""
    folder = tmp_path_factory.mktemp("original")
    with Deployment(tmp_path_factory.mktemp("server")) as server, original_server(folder, server.model) as original:
        yield [server.connect(), original]


def git(folder: Path, *words: str, given: str | None = None) -> bool:
    """Run git. Return whether it succeeded."""
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    data = None if given is None else given.encode()
    return subprocess.run(["git", *who, *words], cwd=folder, input=data, capture_output=True).returncode == 0


@pytest.mark.parametrize(("name", "old", "new", "is_same"), CASES.values(), ids=CASES)
def test_git_applies_the_diff_to_remote(
    clients: list[ProtocolClient], tmp_path: Path, name: str, old: bytes, new: bytes, is_same: bool
) -> None:
    work = tmp_path / "work"
    assert git(tmp_path, "init", "-q", "--bare", "remote")
    assert git(tmp_path, "clone", "-q", "remote", "work")
    (work / name).write_bytes(old)
    assert git(work, "add", "-A")
    assert git(work, "commit", "-qm", "first")
    assert git(work, "push", "-q", "origin", "HEAD")
    (work / name).write_bytes(new)

    taken = []
    for number, client in enumerate(clients):
        assert git(tmp_path, "clone", "-q", "remote", f"clone{number}")
        try:
            diff = client.request("gitDiffToRemote", {"cwd": str(work)})["diff"]
        except RpcError:
            taken.append(False)
            continue
        clone = tmp_path / f"clone{number}"
        taken.append(git(clone, "apply", given=diff) and (clone / name).read_bytes() == new)

    assert taken == [True, is_same]
