"""Run a story of tests/console/stories in a real browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
STORY_SECONDS = 150
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def missing() -> str:
    """Return what is missing to run a browser, as a sentence; "": nothing."""
    if not any(map(shutil.which, BROWSERS)):
        return "there is no Chromium: apt-get install chromium"
    if not shutil.which("node") or not (ROOT / "node_modules" / "playwright-core").exists():
        return "there is no playwright-core: make node_modules/.done"
    return ""


def tell(name: str, given: Mapping[str, Any], commands: Mapping[str, Callable[..., object]]) -> dict[str, Any]:
    """Run stories/NAME.mjs and return what it reports. commands: what it may ask for. Errors: AssertionError."""
    browser = next(found for found in map(shutil.which, BROWSERS) if found)
    axe = ROOT / "node_modules" / "axe-core" / "axe.min.js"
    with tempfile.TemporaryDirectory() as home:  # chromium writes into its home
        environ = {
            **os.environ,
            "STORY": json.dumps({"browser": browser, "axe": str(axe), **given}),
            "HOME": home,
        }
        return _talk(["node", str(FOLDER / "stories" / f"{name}.mjs")], environ, commands)


def _talk(command: list[str], environ: dict[str, str], commands: Mapping[str, Callable[..., object]]) -> dict[str, Any]:
    """Run a story: each line that it writes asks for something, and the last one is its report."""
    story = subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert story.stdin is not None
    assert story.stdout is not None
    report: dict[str, Any] = {"failure": "the story ended without a report"}
    try:
        for line in story.stdout:
            said = json.loads(line)
            if "report" in said:
                report = said["report"]
                break
            answer = commands[said["ask"]](*said["with"])
            story.stdin.write(json.dumps(answer) + "\n")
            story.stdin.flush()
        _, errors = story.communicate(timeout=STORY_SECONDS)
    finally:
        story.kill()
        story.wait()
    assert "failure" not in report, f"{report['failure']}\n{errors[-2000:]}"
    return report
