"""What a user may ask for of the sandbox: modes, policies and paths (DESIGN: who may do what).

A security boundary: every mode, policy and path that a client names passes through here. Paths are checked as text
alone, because the API opens no workspace; the worker follows links and checks again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from shared.config import Config
from shared.errors import InvalidParams
from shared.protocol.sandbox_modes import (
    EXTERNAL_SANDBOX,
    FULL_ACCESS,
    MODE_OF_POLICY_TYPE,
    MODE_OF_PROFILE,
    READ_ONLY,
    SandboxMode,
)
from shared.protocol.settings import FULL_ACCESS_POLICY, SandboxPolicy
from shared.store.users import LOCAL_USER

_ASK_FOR_ROOT = "use a path in your own workspaces, or ask the operator to add it to [server] workspace_roots"


def allowed_modes(config: Config, owner: str) -> frozenset[str]:
    """Return the sandbox modes that a user may ask for."""
    return config.allowed_modes(hosted=owner != LOCAL_USER)


def allowed_path(config: Config, owner: str, path: str, name: str, thread_id: str | None = None) -> str:
    """Return an absolute path, normalised, if the user may name it.

    name:      of the parameter, for errors
    thread_id: of the thread whose setting it becomes: threads of users with keys work in their own workspace only
    Errors:    InvalidParams
    """
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise InvalidParams(f"{name}: expected an absolute path without `..`, got {path[:200]!r}")
    path = "/" + os.path.normpath(path).lstrip("/")
    hosted = owner != LOCAL_USER
    roots = [] if hosted else list(config.server.workspace_roots)
    if roots or hosted:
        own = config.server.workspaces_dir / owner
        roots.append(str(own / thread_id if hosted and thread_id is not None else own))
        if not any(os.path.commonpath((path, root)) == os.path.normpath(root) for root in roots):
            raise InvalidParams(
                f"{name}: {path[:200]!r} is outside of the folders that this server allows; "
                + ("use a path in the thread's own workspace, or leave it out" if hosted else _ASK_FOR_ROOT)
            )
    return path


def policy_of_mode(config: Config, mode: SandboxMode | str) -> SandboxPolicy:
    """Return the policy object that a sandbox mode stands for (PROTOCOL section 4)."""
    if mode == FULL_ACCESS:
        return {**FULL_ACCESS_POLICY}
    if mode == READ_ONLY:
        return {"type": "readOnly", "networkAccess": False}
    writes = config.sandbox_workspace_write
    return {
        "type": "workspaceWrite",
        "writableRoots": list(writes.writable_roots),
        "networkAccess": writes.network_access,
        "excludeTmpdirEnvVar": writes.exclude_tmpdir_env_var,
        "excludeSlashTmp": writes.exclude_slash_tmp,
    }


def allowed_mode(config: Config, owner: str, mode: str) -> SandboxPolicy:
    """Return the policy of `sandbox`, a mode by its own name. Errors: InvalidParams."""
    _check_mode(config, owner, mode)
    return policy_of_mode(config, mode)


def allowed_profile(config: Config, owner: str, profile: str) -> SandboxPolicy:
    """Return the policy of `permissions`, a mode by the name of its profile. Errors: InvalidParams."""
    if profile not in MODE_OF_PROFILE:
        expected = ", ".join(MODE_OF_PROFILE)
        raise InvalidParams(f"permissions: unknown profile `{profile[:80]}`, expected one of {expected}")
    return allowed_mode(config, owner, MODE_OF_PROFILE[profile])


def allowed_policy(
    config: Config, owner: str, policy: Mapping[str, object], thread_id: str | None = None
) -> SandboxPolicy:
    """Return a policy object of a client, checked and with its defaults. thread_id: as in allowed_path.

    Errors: InvalidParams
    """
    kind = policy.get("type")
    if not isinstance(kind, str) or kind not in MODE_OF_POLICY_TYPE:
        expected = ", ".join(f"`{name}`" for name in MODE_OF_POLICY_TYPE)
        raise InvalidParams(f"Invalid request: unknown variant `{str(kind)[:80]}`, expected one of {expected}")
    _check_mode(config, owner, MODE_OF_POLICY_TYPE[kind])
    if kind == "dangerFullAccess":
        return {**FULL_ACCESS_POLICY}
    network = policy.get("networkAccess") in (True, "enabled")
    if network and not _may_use_network(config, owner):
        raise InvalidParams(
            "sandboxPolicy.networkAccess: this server does not allow the network; "
            "the operator allows it with [sandbox_workspace_write] network_access"
        )
    if kind == "readOnly":
        return {"type": "readOnly", "networkAccess": network}
    if kind == EXTERNAL_SANDBOX:
        return {"type": "externalSandbox", "networkAccess": network}
    return {
        "type": "workspaceWrite",
        "writableRoots": _writable_roots(config, owner, policy.get("writableRoots") or [], thread_id),
        "networkAccess": network,
        "excludeTmpdirEnvVar": policy.get("excludeTmpdirEnvVar") is True,
        "excludeSlashTmp": policy.get("excludeSlashTmp") is True,
    }


def _check_mode(config: Config, owner: str, mode: str) -> None:
    allowed = allowed_modes(config, owner)
    if mode not in allowed:
        raise InvalidParams(
            f"sandbox: this server does not allow {mode}; "
            f"use {' or '.join(sorted(allowed))}, or ask the operator to add it to [server] sandbox_modes"
        )


def _may_use_network(config: Config, owner: str) -> bool:
    """Whoever may use full access may use the network too."""
    return config.sandbox_workspace_write.network_access or FULL_ACCESS in allowed_modes(config, owner)


def _writable_roots(config: Config, owner: str, roots: object, thread_id: str | None) -> list[str]:
    name = "sandboxPolicy.writableRoots"
    if not isinstance(roots, list) or not all(isinstance(root, str) for root in roots):
        raise InvalidParams(f"{name}: expected a list of absolute paths")
    return [allowed_path(config, owner, root, name, thread_id) for root in roots]
