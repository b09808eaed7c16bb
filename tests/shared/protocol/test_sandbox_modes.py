"""The table of sandbox modes: every policy type and profile has exactly one mode."""

from __future__ import annotations

from typing import get_args

import pytest

from shared.protocol.sandbox_modes import (
    MODE_OF_POLICY_TYPE,
    MODE_OF_PROFILE,
    PROFILE_OF_POLICY_TYPE,
    SANDBOX_MODES,
    PolicyType,
    SandboxMode,
)


def test_the_table_covers_every_mode_and_policy_type() -> None:
    assert get_args(SandboxMode) == SANDBOX_MODES
    assert set(MODE_OF_POLICY_TYPE) == set(get_args(PolicyType))
    assert list(MODE_OF_PROFILE.values()) == list(SANDBOX_MODES)


@pytest.mark.parametrize(
    ("policy_type", "mode"),
    [
        ("readOnly", "read-only"),
        ("workspaceWrite", "workspace-write"),
        ("dangerFullAccess", "danger-full-access"),
        ("externalSandbox", "danger-full-access"),
    ],
)
def test_a_policy_type_grants_what_its_mode_grants(policy_type: str, mode: str) -> None:
    assert MODE_OF_POLICY_TYPE[policy_type] == mode


def test_a_profile_and_the_policy_type_it_is_shown_for_mean_the_same_mode() -> None:
    for policy_type, profile in PROFILE_OF_POLICY_TYPE.items():
        assert MODE_OF_PROFILE[profile] == MODE_OF_POLICY_TYPE[policy_type]


def test_an_external_sandbox_is_shown_as_no_profile() -> None:
    assert "externalSandbox" not in PROFILE_OF_POLICY_TYPE
