"""What a client may override of a thread's settings, and how far (DESIGN: who may do what).

Paths are checked as text alone: the API opens no workspace. The worker follows links and checks again.
"""

from __future__ import annotations

import os
from typing import Any

from marshmallow import fields

from api.params import ParamsSchema, variant
from shared.config import APPROVAL_POLICIES, REASONING_EFFORTS, REASONING_SUMMARIES, SANDBOX_MODES, SCRIPTED, Config
from shared.errors import InvalidParams
from shared.store.users import LOCAL_USER

GRANULAR_KINDS = ("sandbox_approval", "rules", "skill_approval", "request_permissions", "mcp_elicitations")
REVIEWERS = ("user", "auto_review", "guardian_subagent")
POLICY_TYPES = {
    "readOnly": "read-only",
    "workspaceWrite": "workspace-write",
    "dangerFullAccess": "danger-full-access",
    "externalSandbox": "danger-full-access",
}
# Keys of `config` → the member that they stand for.
CONFIG_KEYS = {
    "model": "model",
    "model_provider": "model_provider",
    "model_reasoning_effort": "effort",
    "model_reasoning_summary": "summary",
    "personality": "personality",
    "service_tier": "service_tier",
    "approval_policy": "approval_policy",
    "approvals_reviewer": "approvals_reviewer",
    "sandbox_mode": "sandbox",
    "developer_instructions": "developer_instructions",
}
PROFILES = {":read-only": "read-only", ":workspace": "workspace-write", ":danger-full-access": "danger-full-access"}
CODEX_HOME = "/threadhouse"  # clients want a path; ours are nobody's business
# Switches of the original's features, and of tools that there are not yet: accepted, for its terminal client sends
# them, and without effect.
CONFIG_WITHOUT_EFFECT = ("features", "tools", "skills", "cloud", "web_search", "default_permissions")


class SettingsParams(ParamsSchema):
    """Overrides that become the thread's settings (PROTOCOL section 4).

    Shape:  all optional: {"model", "modelProvider", "cwd": absolute path, "approvalPolicy", "approvalsReviewer",
            "permissions": one of PROFILES, or "sandbox": mode, or "sandboxPolicy": policy object, "effort",
            "summary", "personality", "serviceTier", "collaborationMode", "baseInstructions",
            "developerInstructions", "config": {dotted key: value}}
    Errors: InvalidParams (a key, mode or path that is not allowed here)
    """

    model = fields.Str()
    model_provider = fields.Str()
    cwd = fields.Str()
    approval_policy = fields.Raw()
    approvals_reviewer = fields.Str(validate=variant(*REVIEWERS))
    sandbox = fields.Str(validate=variant(*SANDBOX_MODES))
    sandbox_policy = fields.Dict()
    permissions = fields.Str()
    effort = fields.Str(validate=variant(*REASONING_EFFORTS))
    summary = fields.Str(validate=variant(*REASONING_SUMMARIES))
    personality = fields.Str()
    service_tier = fields.Str()
    collaboration_mode = fields.Dict()
    base_instructions = fields.Str()
    developer_instructions = fields.Str()
    config = fields.Dict()


PLAIN = {
    "model": "model",
    "effort": "effort",
    "summary": "summary",
    "approvals_reviewer": "approvalsReviewer",
    "personality": "personality",
    "service_tier": "serviceTier",
    "base_instructions": "baseInstructions",
    "developer_instructions": "developerInstructions",
}


def defaults(config: Config, owner: str, thread_id: str) -> dict[str, Any]:
    """Settings of a thread whose client asks for nothing."""
    return {
        "model": config.model,
        "modelProvider": config.model_provider,
        "effort": config.model_reasoning_effort,
        "summary": config.model_reasoning_summary,
        "cwd": str(config.server.workspaces_dir / owner / thread_id),
        "approvalPolicy": config.approval_policy,
        "approvalsReviewer": "user",
        "sandboxPolicy": policy_of_mode(config, config.sandbox_mode),
        "serviceTier": None,
        "personality": None,
        "collaborationMode": None,
        "developerInstructions": None,
        "baseInstructions": None,
        "dynamicTools": [],
    }


def changes(config: Config, owner: str, params: dict[str, Any]) -> dict[str, Any]:
    """What loaded SettingsParams change, under the names of the thread's settings. Errors: InvalidParams."""
    asked = {**_from_config(params.get("config", {})), **params}
    changed = {wire: asked[name] for name, wire in PLAIN.items() if name in asked}
    if "model_provider" in asked:
        changed["modelProvider"] = _provider(config, asked["model_provider"])
    if "cwd" in asked:
        changed["cwd"] = allowed_path(config, owner, asked["cwd"], "cwd")
    if "approval_policy" in asked:
        changed["approvalPolicy"] = _approval_policy(asked["approval_policy"])
    if "sandbox" in asked:
        _check_mode(config, owner, asked["sandbox"])
        changed["sandboxPolicy"] = policy_of_mode(config, asked["sandbox"])
    if "sandbox_policy" in asked:
        changed["sandboxPolicy"] = _policy(config, owner, asked["sandbox_policy"])
    if "permissions" in asked:
        changed["sandboxPolicy"] = _profile(config, owner, asked)
    if "collaboration_mode" in asked:
        changed |= _collaboration_mode(asked["collaboration_mode"])
    return changed


def user_defaults(config: Config, owner: str, values: dict[str, Any]) -> dict[str, Any]:
    """What a user's own configuration changes. A value that the server does not allow any more is left out."""
    changed: dict[str, Any] = {}
    for key, value in values.items():
        try:
            changed |= changes(config, owner, {"config": {key: value}})
        except InvalidParams:
            continue
    return changed


def policy_of_mode(config: Config, mode: str) -> dict[str, Any]:
    """The policy object that a sandbox mode stands for (PROTOCOL section 4)."""
    if mode == "danger-full-access":
        return {"type": "dangerFullAccess"}
    if mode == "read-only":
        return {"type": "readOnly", "networkAccess": False}
    writes = config.sandbox_workspace_write
    return {
        "type": "workspaceWrite",
        "writableRoots": list(writes.writable_roots),
        "networkAccess": writes.network_access,
        "excludeTmpdirEnvVar": writes.exclude_tmpdir_env_var,
        "excludeSlashTmp": writes.exclude_slash_tmp,
    }


def allowed_modes(config: Config, owner: str) -> frozenset[str]:
    """Sandbox modes that a user may ask for."""
    return config.allowed_modes(hosted=owner != LOCAL_USER)


def allowed_path(config: Config, owner: str, path: str, name: str) -> str:
    """An absolute path below what the user may name, normalised. Errors: InvalidParams."""
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise InvalidParams(f"{name}: expected an absolute path without `..`, got {path[:200]!r}")
    path = "/" + os.path.normpath(path).lstrip("/")
    roots = list(config.server.workspace_roots)
    if roots or owner != LOCAL_USER:
        roots.append(str(config.server.workspaces_dir / owner))
        if not any(os.path.commonpath((path, root)) == os.path.normpath(root) for root in roots):
            raise InvalidParams(f"{name}: {path[:200]!r} is outside of the folders that this server allows")
    return path


def _from_config(values: dict[str, Any]) -> dict[str, Any]:
    """`config` as members of SettingsParams."""
    asked = {}
    for key, value in values.items():
        if key in CONFIG_KEYS:
            asked[CONFIG_KEYS[key]] = value
        elif key.split(".")[0] not in CONFIG_WITHOUT_EFFECT and not (key == "mcp_servers" and value == {}):
            raise InvalidParams(f"config.{key[:200]}: this server does not let clients set it")
    present = {name: value for name, value in asked.items() if value is not None}
    wire = {SettingsParams().fields[name].data_key: value for name, value in present.items()}
    from api.params import load

    return load(SettingsParams(), wire)


def _provider(config: Config, name: str) -> str:
    if name not in config.model_providers and name != SCRIPTED:
        raise InvalidParams(f"Model provider `{name[:200]}` not found")
    return name


def _approval_policy(policy: Any) -> Any:
    granular = policy.get("granular") if isinstance(policy, dict) else None
    if isinstance(granular, dict):
        return {"granular": _granular(granular)}
    if isinstance(policy, str) and policy in APPROVAL_POLICIES:
        return policy
    shown = f"`{policy[:80]}`" if isinstance(policy, str) else "`granular`"
    raise InvalidParams(
        f"Invalid request: unknown variant {shown}, expected one of `untrusted`, `on-request`, `granular`, `never`"
    )


def _granular(kinds: dict[str, Any]) -> dict[str, bool]:
    """What may be asked for, kind by kind; what is not named may not. Errors: InvalidParams."""
    if not all(isinstance(kinds.get(kind, False), bool) for kind in GRANULAR_KINDS):
        raise InvalidParams(f"approvalPolicy.granular: expected booleans named {', '.join(GRANULAR_KINDS)}")
    return {kind: kinds.get(kind, False) for kind in GRANULAR_KINDS}


def _check_mode(config: Config, owner: str, mode: str) -> None:
    if mode not in allowed_modes(config, owner):
        raise InvalidParams(f"sandbox: this server does not allow {mode}")


def _profile(config: Config, owner: str, asked: dict[str, Any]) -> dict[str, Any]:
    name = asked["permissions"]
    if "sandbox" in asked or "sandbox_policy" in asked:
        raise InvalidParams("permissions cannot be combined with a sandbox")
    if name not in PROFILES:
        raise InvalidParams(f"permissions: unknown profile `{name[:80]}`, expected one of {', '.join(PROFILES)}")
    _check_mode(config, owner, PROFILES[name])
    return policy_of_mode(config, PROFILES[name])


def _policy(config: Config, owner: str, policy: dict[str, Any]) -> dict[str, Any]:
    kind = policy.get("type")
    if not isinstance(kind, str) or kind not in POLICY_TYPES:
        expected = ", ".join(f"`{name}`" for name in POLICY_TYPES)
        raise InvalidParams(f"Invalid request: unknown variant `{str(kind)[:80]}`, expected one of {expected}")
    _check_mode(config, owner, POLICY_TYPES[kind])
    if kind == "dangerFullAccess":
        return {"type": kind}
    network = policy.get("networkAccess") in (True, "enabled")
    may = allowed_modes(config, owner)
    if network and not config.sandbox_workspace_write.network_access and "danger-full-access" not in may:
        raise InvalidParams("sandboxPolicy.networkAccess: this server does not allow the network")
    if kind != "workspaceWrite":
        return {"type": kind, "networkAccess": network}
    roots = policy.get("writableRoots") or []
    if not isinstance(roots, list) or not all(isinstance(root, str) for root in roots):
        raise InvalidParams("sandboxPolicy.writableRoots: expected a list of absolute paths")
    return {
        "type": kind,
        "writableRoots": [allowed_path(config, owner, root, "sandboxPolicy.writableRoots") for root in roots],
        "networkAccess": network,
        "excludeTmpdirEnvVar": policy.get("excludeTmpdirEnvVar") is True,
        "excludeSlashTmp": policy.get("excludeSlashTmp") is True,
    }


def _collaboration_mode(mode: dict[str, Any]) -> dict[str, Any]:
    """The mode, and the model and effort in it, which win over the others (PROTOCOL section 4)."""
    settings = mode.get("settings")
    if mode.get("mode") not in ("default", "plan") or not isinstance(settings, dict):
        raise InvalidParams("collaborationMode: expected {mode: default or plan, settings}")
    kept = {name: settings.get(name) for name in ("model", "reasoning_effort", "developer_instructions")}
    if not all(value is None or isinstance(value, str) for value in kept.values()):
        raise InvalidParams("collaborationMode.settings: expected strings")
    changed: dict[str, Any] = {"collaborationMode": {"mode": mode["mode"], "settings": kept}}
    if kept["model"]:
        changed["model"] = kept["model"]
    if kept["reasoning_effort"]:
        changed["effort"] = kept["reasoning_effort"]
    return changed
