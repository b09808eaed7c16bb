"""A deployment with two users, and how a test runs a story in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from shared.clock import now_ms
from shared.ids import new_id
from shared.store import usage
from shared.store.alert_tables import alerts
from shared.store.usage import Spent
from tests.console import browser
from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.webhook_receiver import SECRET

FOLDER = Path(__file__).parent
Run = Callable[..., dict[str, Any]]
# Nobody listens there, so each delivery is soon dead. Its address is hostile text.
WEBHOOK_URL = "http://127.0.0.1:9/in?<img/src=x/onerror=window.pwned=1>"
SETTINGS: dict[str, object] = {
    "webhooks": [{"url": WEBHOOK_URL, "secret": SECRET, "events": ["turn.failed"], "allow_private": True}],
    "workspaces": {"git_hosts": {"git.example": {}}},
    "prices": {"currency": "EUR", "models": [{"model": "mock-model", "input": 1000.0, "output": 2000.0}]},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if missing := browser.missing():
        for item in items:
            if FOLDER in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="package")
def shared_deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("console")
    server = STEADY | {"webhook_retry_seconds": [0.05]}
    with Deployment(
        home, api=1, workers=2, server=server, settings=SETTINGS, queues="turns,calls,feedback,background"
    ) as deployment:
        yield deployment


@pytest.fixture(scope="package")
def keys(shared_deployment: Deployment) -> dict[str, str]:
    """API keys by the name of their users: root and olga are admins."""
    roles = {"ada": "member", "iris": "member", "root": "admin", "olga": "admin"}
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
        return browser.tell(name, {"url": deployment.urls[0], "keys": keys, **given}, _commands(deployment))

    return run_story


def _commands(deployment: Deployment) -> Mapping[str, Callable[..., object]]:
    """Return what a story may ask for."""

    def restart_api() -> None:
        deployment.api[0].kill()
        deployment.api[0].start()
        deployment.api[0].wait_until(deployment.http().is_ready)

    def revoke(user: str) -> None:
        for key in deployment.store.users.keys(user):
            deployment.store.users.revoke_key(key.id)

    def spend(user: str, model: str, input_tokens: int, output_tokens: int) -> None:
        spent = Spent(model, input_tokens + output_tokens, input=input_tokens, output=output_tokens)
        with deployment.store.database.write() as connection:
            usage.add(connection, [(deployment.store.users.get(user).id, spent)])

    def add_alert(name: str, minutes: int, message: str, ended_minutes_ago: int | None) -> None:
        at_ms = now_ms()
        until_ms = None if ended_minutes_ago is None else at_ms - ended_minutes_ago * 60_000
        times = {"since_ms": at_ms - minutes * 60_000, "seen_at_ms": at_ms, "until_ms": until_ms}
        with deployment.store.database.write() as connection:
            connection.execute(insert(alerts).values(id=new_id(), name=name, message=message, **times))

    return {
        "release": deployment.model.release,
        "reached": deployment.model.wait_reached,
        "restartApi": restart_api,
        "addUser": lambda name: deployment.add_user(name)[1],
        "revoke": revoke,
        "spend": spend,
        "addAlert": add_alert,
        "limit": lambda user, name, value: deployment.store.limits.change(
            deployment.store.users.get(user).id, {name: value}
        ),
    }
