"""`codex app-server` with our scripted model: what the original does is compared with what our server does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.bridge import Pipes
from tests.support.model_server import ModelServer
from tests.support.protocol_client import ProtocolClient

CODEX = Path(__file__).parents[2] / "node_modules" / ".bin" / "codex"
CONFIG = """\
model = "mock-model"
model_provider = "mock"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.mock]
name = "mock"
"""


@contextmanager
def original_server(folder: Path, model: ModelServer, config: str = "") -> Iterator[ProtocolClient]:
    """Start the original in a folder, its HOME. Yield an initialized client. config: lines at its top."""
    if missing := [program for program in (str(CODEX), "node") if shutil.which(program) is None]:
        reason = f"not installed: {', '.join(missing)} (`make clients` installs the original)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    home = folder / ".codex"
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(f'{config}\n{CONFIG}base_url = "{model.base_url}"\n')
    environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(folder), "CODEX_HOME": str(home)}
    with subprocess.Popen(
        [CODEX, "app-server"],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            pipes: Any = Pipes(process.stdout, process.stdin)
            client = ProtocolClient(pipes)
            client.initialize(experimentalApi=True)
            yield client
        finally:
            process.stdin.close()  # ends it, and the program that node has started
            process.wait(60)


def run_turn(client: ProtocolClient, thread_id: str, *parts: Any, **params: Any) -> list[dict[str, Any]]:
    """Run a turn to its end. Return its notifications. parts: of the input; a string is a text."""
    begin = len(client.received)
    texts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    client.request("turn/start", {"threadId": thread_id, "input": texts, **params})

    def is_end(frame: dict[str, Any]) -> bool:
        return frame.get("method") == "turn/completed" and frame["params"]["threadId"] == thread_id

    end = client.wait_for(is_end, after=begin)
    frames = client.received[begin : client.received.index(end, begin) + 1]
    return [frame for frame in frames if "method" in frame]
