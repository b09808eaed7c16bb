"""What a user may ask for of the sandbox: modes, policies and paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.requests.sandbox_policy import allowed_mode, allowed_modes, allowed_path, allowed_policy, allowed_profile
from shared.config import Config, SandboxWorkspaceWrite
from shared.errors import InvalidParams
from shared.store.users import LOCAL_USER
from tests.builders import make_config

USER = "user"
OWN = "/workspaces/user"


@pytest.fixture
def config() -> Config:
    return make_config(Path("/"))


def test_users_with_keys_may_not_ask_for_full_access(config: Config) -> None:
    assert allowed_modes(config, LOCAL_USER) == {"read-only", "workspace-write", "danger-full-access"}
    assert allowed_modes(config, USER) == {"read-only", "workspace-write"}


@pytest.mark.parametrize(
    ("mode", "profile", "policy_type"),
    [
        ("read-only", ":read-only", "readOnly"),
        ("workspace-write", ":workspace", "workspaceWrite"),
        ("danger-full-access", ":danger-full-access", "dangerFullAccess"),
    ],
)
def test_mode_profile_and_policy_object_mean_the_same(
    config: Config, mode: str, profile: str, policy_type: str
) -> None:
    policies = [
        allowed_mode(config, LOCAL_USER, mode),
        allowed_profile(config, LOCAL_USER, profile),
        allowed_policy(config, LOCAL_USER, {"type": policy_type}),
    ]

    assert policies[0]["type"] == policy_type
    assert policies[1:] == policies[:1] * 2


@pytest.mark.parametrize(
    "ask",
    [
        lambda config: allowed_mode(config, USER, "danger-full-access"),
        lambda config: allowed_profile(config, USER, ":danger-full-access"),
        lambda config: allowed_policy(config, USER, {"type": "dangerFullAccess"}),
        lambda config: allowed_policy(config, USER, {"type": "externalSandbox"}),
    ],
    ids=["mode", "profile", "policy object", "external sandbox"],
)
def test_full_access_is_refused_under_each_of_its_names(config: Config, ask: Any) -> None:
    with pytest.raises(InvalidParams, match="does not allow danger-full-access") as refused:
        ask(config)

    assert "[server] sandbox_modes" in str(refused.value)


@pytest.mark.parametrize("policy", [{}, {"type": 1}, {"type": "everything"}])
def test_unknown_policy_types_are_refused_in_the_words_of_the_original(config: Config, policy: Any) -> None:
    with pytest.raises(InvalidParams, match=r"Invalid request: unknown variant .*, expected one of `readOnly`"):
        allowed_policy(config, LOCAL_USER, policy)


def test_the_network_is_for_users_of_full_access_and_where_the_operator_allows_it(config: Config) -> None:
    asked = {"type": "workspaceWrite", "networkAccess": True}
    open_config = make_config(Path("/"), sandbox_workspace_write=SandboxWorkspaceWrite(network_access=True))

    assert allowed_policy(config, LOCAL_USER, asked)["networkAccess"] is True
    assert allowed_policy(open_config, USER, asked)["networkAccess"] is True
    with pytest.raises(InvalidParams, match="does not allow the network"):
        allowed_policy(config, USER, asked)


def test_members_of_a_policy_object_have_strict_defaults(config: Config) -> None:
    policy = allowed_policy(config, USER, {"type": "workspaceWrite", "excludeSlashTmp": "yes", "unknown": 1})

    assert policy == {
        "type": "workspaceWrite",
        "writableRoots": [],
        "networkAccess": False,
        "excludeTmpdirEnvVar": False,
        "excludeSlashTmp": False,
    }


@pytest.mark.parametrize("roots", ["/", [1], {"/": 1}])
def test_writable_roots_must_be_a_list_of_paths(config: Config, roots: Any) -> None:
    with pytest.raises(InvalidParams, match="writableRoots: expected a list"):
        allowed_policy(config, LOCAL_USER, {"type": "workspaceWrite", "writableRoots": roots})


@pytest.mark.parametrize("path", [OWN, f"{OWN}/thread", f"{OWN}/./thread/", f"//{OWN}/thread"])
def test_a_user_may_name_paths_in_their_own_workspaces(config: Config, path: str) -> None:
    assert allowed_path(config, USER, path, "cwd") in (OWN, f"{OWN}/thread")


@pytest.mark.parametrize(
    "path",
    [
        "relative",
        "",
        f"{OWN}/../other",
        f"{OWN}\0",
        "/",
        "/workspaces",
        "/workspaces/user2",
        "/workspaces/other/thread",
    ],
)
def test_a_user_may_name_no_other_path(config: Config, path: str) -> None:
    with pytest.raises(InvalidParams, match=r"^cwd: "):
        allowed_path(config, USER, path, "cwd")


def test_workspace_roots_bind_the_local_user_and_open_nothing_to_users_with_keys() -> None:
    config = make_config(Path("/"), server={"workspace_roots": ("/srv/code",)})

    assert allowed_path(config, LOCAL_USER, "/srv/code/a", "cwd") == "/srv/code/a"
    with pytest.raises(InvalidParams, match="own workspace"):
        allowed_path(config, USER, "/srv/code/a", "cwd")
    with pytest.raises(InvalidParams, match="outside of the folders"):
        allowed_path(config, LOCAL_USER, "/etc", "cwd")


@pytest.mark.parametrize("path", [OWN, f"{OWN}/other", f"{OWN}/thread2", "/workspaces"])
def test_a_thread_of_a_user_may_name_its_own_workspace_only(config: Config, path: str) -> None:
    policy = {"type": "workspaceWrite", "writableRoots": [path]}

    assert allowed_path(config, USER, f"{OWN}/thread/src", "cwd", "thread") == f"{OWN}/thread/src"
    with pytest.raises(InvalidParams, match="own workspace"):
        allowed_path(config, USER, path, "cwd", "thread")
    with pytest.raises(InvalidParams, match="own workspace"):
        allowed_policy(config, USER, policy, "thread")
    assert allowed_path(config, LOCAL_USER, path, "cwd", "thread") == path


def test_the_local_user_may_name_any_path_by_default(config: Config) -> None:
    assert allowed_path(config, LOCAL_USER, "/etc/", "cwd") == "/etc"
