"""The programs of the original that npm installs (package.json), by the version of their protocol."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

NODE_MODULES = Path(__file__).parents[2] / "node_modules"
CODEX_169 = NODE_MODULES / ".bin" / "codex"
CODEX_171 = NODE_MODULES / "codex-171" / "bin" / "codex.js"
CODEX_ACP = NODE_MODULES / ".bin" / "codex-acp"
VERSIONS = {"0.169": CODEX_169, "0.171": CODEX_171}
# The programs contact only the server and the model of the test.
OFFLINE = """\
check_for_update_on_startup = false

[analytics]
enabled = false
"""


def require(*programs: Path | str) -> None:
    """Skip the test if one of these programs is not installed. In CI the test fails instead."""
    if missing := [str(program) for program in programs if shutil.which(program) is None]:
        reason = f"not installed: {', '.join(missing)} (`make clients` installs the clients)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def environ(home: Path) -> dict[str, str]:
    """Return the whole environment of a program of the original whose home is this folder; it may have a `bin`."""
    path = f"{home / 'bin'}:{os.environ['PATH']}"
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": str(home), "CODEX_HOME": str(home / ".codex")}


def write_config(home: Path, lines: str = "", *, model_url: str | None = None) -> None:
    """Write the config.toml of the original: offline, and, for its own turns, with the scripted model at that URL."""
    provider = f'[model_providers.mock]\nname = "mock"\nbase_url = "{model_url}"\nstream_max_retries = 1\n'
    chosen = 'model = "gpt-5.5"\nmodel_provider = "mock"\n'
    (home / ".codex").mkdir(exist_ok=True)
    text = f"{chosen}{OFFLINE}{provider}{lines}" if model_url else f"{OFFLINE}{lines}"
    (home / ".codex" / "config.toml").write_text(text)
