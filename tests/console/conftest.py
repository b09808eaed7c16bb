"""A deployment with two users, and how a test runs a story in a real browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
STORY_SECONDS = 150
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
Run = Callable[..., dict[str, Any]]


def _missing() -> str:
    """Return what is missing to run a browser, as a sentence; "": nothing."""
    if not any(map(shutil.which, BROWSERS)):
        return "there is no Chromium: apt-get install chromium"
    if not shutil.which("node") or not (ROOT / "node_modules" / "playwright-core").exists():
        return "there is no playwright-core: make node_modules/.done"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if missing := _missing():
        for item in items:
            if FOLDER in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="package")
def shared_deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("console")
    with Deployment(home, api=1, workers=2, server=STEADY) as deployment:
        yield deployment


@pytest.fixture(scope="package")
def keys(shared_deployment: Deployment) -> dict[str, str]:
    """API keys by the name of their users: ada is a member, root and olga are admins."""
    roles = {"ada": "member", "root": "admin", "olga": "admin"}
    return {name: shared_deployment.add_user(name, role)[1] for name, role in roles.items()}


@pytest.fixture
def deployment(shared_deployment: Deployment) -> Iterator[Deployment]:
    shared_deployment.model.forget_pauses()
    with logs_shown_on_failure(shared_deployment):
        yield shared_deployment


@pytest.fixture
def run(deployment: Deployment, keys: dict[str, str]) -> Run:
    """Return a function that runs tests/console/stories/NAME.mjs and returns what it reports."""

    def run_story(name: str, **given: Any) -> dict[str, Any]:
        browser = next(found for found in map(shutil.which, BROWSERS) if found)
        told = {"url": deployment.urls[0], "keys": keys, "browser": browser, "axe": _axe(), **given}
        with tempfile.TemporaryDirectory() as home:  # chromium writes into its home
            environ = {**os.environ, "STORY": json.dumps(told), "HOME": home}
            return _talk(["node", str(FOLDER / "stories" / f"{name}.mjs")], environ, _commands(deployment))

    return run_story


def _axe() -> str:
    return str(ROOT / "node_modules" / "axe-core" / "axe.min.js")


def _commands(deployment: Deployment) -> Mapping[str, Callable[..., object]]:
    """Return what a story may ask for."""

    def restart_api() -> None:
        deployment.api[0].kill()
        deployment.api[0].start()
        deployment.api[0].wait_until(deployment.http().is_ready)

    def revoke(user: str) -> None:
        for key in deployment.store.users.keys(user):
            deployment.store.users.revoke_key(key.id)

    return {
        "release": deployment.model.release,
        "reached": deployment.model.wait_reached,
        "restartApi": restart_api,
        "addUser": lambda name: deployment.add_user(name)[1],
        "revoke": revoke,
    }


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
