"""What a client may override of a thread's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.requests.settings import (
    Overrides,
    changes,
    defaults,
    ignored_keys,
    load_overrides,
    user_defaults,
    without_unchanged,
)
from shared.config import Config
from shared.errors import InvalidParams
from shared.store.users import LOCAL_USER
from tests.builders import make_config

USER = "user"


@pytest.fixture
def config() -> Config:
    return make_config(Path("/"))


def ask(server: Config, owner: str = LOCAL_USER, /, **members: Any) -> Any:
    """The changes for members given by their names on the wire."""
    return changes(server, owner, load_overrides(members), "thread")


def test_a_thread_begins_with_the_configuration_and_a_workspace_of_its_own(config: Config) -> None:
    settings = defaults(config, USER, "thread")

    assert settings["cwd"] == "/workspaces/user/thread"
    assert settings["approvalPolicy"] == config.approval_policy
    assert settings["sandboxPolicy"]["type"] == "workspaceWrite"


def test_members_become_settings_under_their_names_on_the_wire(config: Config) -> None:
    changed = ask(config, model="m", effort="high", serviceTier="fast", developerInstructions="be brief", cwd="/a/")

    assert changed == {
        "model": "m",
        "effort": "high",
        "serviceTier": "fast",
        "developerInstructions": "be brief",
        "cwd": "/a",
    }


def test_keys_of_config_stand_for_members_and_members_win(config: Config) -> None:
    changed = ask(config, model="member", config={"model": "key", "model_reasoning_effort": "low"})

    assert changed == {"model": "member", "effort": "low"}


@pytest.mark.parametrize("key", ["features.web", "tools", "default_permissions", "projects", "projects./a.trust_level"])
def test_keys_that_switch_features_of_the_original_have_no_effect(config: Config, key: str) -> None:
    assert ask(config, config={key: True}) == {}


@pytest.mark.parametrize("key", ["notify", "model_providers.a", "otel.exporter", "server", "hooks", "limits"])
def test_keys_that_widen_what_a_user_may_do_are_refused(config: Config, key: str) -> None:
    with pytest.raises(InvalidParams, match=f"config.{key}: only the operator of this server sets this key"):
        ask(config, config={key: {}})


def test_other_keys_are_ignored_and_named(config: Config) -> None:
    asked = {"no_such_key": 1, "tool_output_token_limit": "a", "model": "m", "features.web": True, "a.b": None}

    assert ask(config, config=asked) == {"model": "m"}
    assert ignored_keys(asked) == ["no_such_key", "tool_output_token_limit", "a.b"]


def test_a_value_in_config_is_checked_like_the_member(config: Config) -> None:
    with pytest.raises(InvalidParams, match="does not allow danger-full-access"):
        ask(config, USER, config={"sandbox_mode": "danger-full-access"})
    with pytest.raises(InvalidParams, match="unknown variant `most`"):
        ask(config, config={"model_reasoning_effort": "most"})


@pytest.mark.parametrize("other", [{"sandbox": "read-only"}, {"sandboxPolicy": {"type": "readOnly"}}])
def test_permissions_and_a_sandbox_exclude_each_other(config: Config, other: Any) -> None:
    with pytest.raises(InvalidParams, match="permissions cannot be combined with a sandbox"):
        ask(config, permissions=":read-only", **other)


def test_a_policy_object_wins_over_a_mode(config: Config) -> None:
    changed = ask(config, sandbox="workspace-write", sandboxPolicy={"type": "readOnly"})

    assert changed["sandboxPolicy"]["type"] == "readOnly"


def test_an_unknown_model_provider_is_refused(config: Config) -> None:
    assert ask(config, modelProvider="scripted") == {"modelProvider": "scripted"}
    with pytest.raises(InvalidParams, match=r"^Model provider `nobody` not found$"):
        ask(config, modelProvider="nobody")


@pytest.mark.parametrize("policy", ["never", "on-request", "untrusted"])
def test_approval_policies_are_known_by_name(config: Config, policy: str) -> None:
    assert ask(config, approvalPolicy=policy) == {"approvalPolicy": policy}


def test_a_granular_approval_policy_names_every_kind(config: Config) -> None:
    changed = ask(config, approvalPolicy={"granular": {"rules": True}})

    kinds = changed["approvalPolicy"]["granular"]
    assert kinds.pop("rules") is True
    assert set(kinds.values()) == {False}


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("always", "unknown variant `always`, expected one of `untrusted`"),
        ({"granular": 1}, "unknown variant `granular`"),
        ({"granular": {"rules": "yes"}}, "expected booleans named sandbox_approval"),
    ],
)
def test_other_approval_policies_are_refused(config: Config, policy: Any, message: str) -> None:
    with pytest.raises(InvalidParams, match=message):
        ask(config, approvalPolicy=policy)


def test_model_and_effort_of_a_collaboration_mode_win_over_the_members(config: Config) -> None:
    mode = {"mode": "plan", "settings": {"model": "planner", "reasoning_effort": "high", "unknown": 1}}

    changed = ask(config, model="m", effort="low", collaborationMode=mode)

    assert (changed["model"], changed["effort"]) == ("planner", "high")
    assert changed["collaborationMode"] == {
        "mode": "plan",
        "settings": {"model": "planner", "reasoning_effort": "high", "developer_instructions": None},
    }


@pytest.mark.parametrize("mode", [{}, {"mode": "other", "settings": {}}, {"mode": "plan", "settings": {"model": 1}}])
def test_malformed_collaboration_modes_are_refused(config: Config, mode: Any) -> None:
    with pytest.raises(InvalidParams, match=r"^collaborationMode"):
        ask(config, collaborationMode=mode)


def test_values_of_a_users_configuration_that_are_no_longer_allowed_are_left_out(config: Config) -> None:
    values = {"sandbox_mode": "danger-full-access", "model": "m", "unknown": 1}

    assert user_defaults(config, USER, values) == {"model": "m"}


def test_changes_that_change_nothing_are_left_out(config: Config) -> None:
    given: Overrides = {"model": "m", "effort": "low"}

    assert without_unchanged(changes(config, LOCAL_USER, given, "thread"), {"model": "m", "effort": None}) == {
        "effort": "low"
    }
