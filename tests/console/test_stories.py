"""What users do in the console, in a real browser against a real server. Each story is a file in stories/."""

from __future__ import annotations

import os

import pytest

from tests.console.conftest import Run

STORIES = [
    "sign_in",
    "share",
    "workspace",
    "inbox",
    "approval",
    "steer",
    "queue",
    "reload",
    "two_windows",
    "threads",
    "keyboard",
    "typing",
    "drafts",
    "toasts",
    "operate",
    "alerts",
    "users",
    "usage",
    "waiting",
    "low",
    "outage",
    "given_away",
    "records",
    "hostile",
]
PICTURES = os.environ.get("THREADHOUSE_PICTURES", "")


@pytest.mark.parametrize("name", STORIES)
def test_story(run: Run, name: str) -> None:
    run(name, pictures=PICTURES)


def test_each_page_is_accessible_and_fits(run: Run) -> None:
    run("pages", pictures=PICTURES)
