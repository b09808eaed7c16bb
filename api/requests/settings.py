"""What a client may override of a thread's settings (DESIGN: who may do what).

Owns the members of requests that become settings, and their defaults. What may be asked for of the sandbox is decided
in api.requests.sandbox_policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, TypedDict, cast

import orjson
from marshmallow import validate

from api.requests import shell_environment, web_search
from api.requests.params import MAX_LABEL_CHARACTERS, MethodParams, load_params
from api.requests.sandbox_policy import allowed_mode, allowed_path, allowed_policy, allowed_profile, policy_of_mode
from api.requests.schemas import variant
from shared.config import APPROVAL_POLICIES, REASONING_EFFORTS, REASONING_SUMMARIES, SCRIPTED, Config
from shared.config.client_mcp_servers import UserMcp, checked_tables, effective_servers, merge_layers
from shared.errors import InvalidParams, RequestError
from shared.key_paths import value_of
from shared.protocol.base import camel_case
from shared.protocol.sandbox_modes import SANDBOX_MODES
from shared.protocol.settings import (
    ApprovalPolicy,
    CollaborationMode,
    ModeSettings,
    SandboxPolicy,
    SettingsChanges,
    ThreadSettings,
)
from shared.store.users import LOCAL_USER

GRANULAR_KINDS = ("sandbox_approval", "rules", "skill_approval", "request_permissions", "mcp_elicitations")
REVIEWERS = ("user", "auto_review", "guardian_subagent")
# Keys of `config` → the member of SettingsParams that they stand for.
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
PROJECT_DOC_KEYS = ("project_doc_max_bytes", "project_doc_fallback_filenames")  # keys of `config` that are no member
MAX_FALLBACK_NAMES = 16
# Accepted because clients of the original send them, and without effect: they switch features of the original, tools
# that do not exist here, and the trust in folders, which is no setting (api.requests.project_config).
CONFIG_WITHOUT_EFFECT = ("features", "skills", "cloud", "default_permissions", "projects")
CONFIG_OF_COMMANDS = (shell_environment.KEY, shell_environment.LOGIN_KEY)
CONFIG_OF_TOOLS = (web_search.KEY, web_search.TOOLS)
# Keys of a configuration file that become settings; the last ones win, so that `web_search` wins over `tools`.
USER_KEYS = (*CONFIG_KEYS, *PROJECT_DOC_KEYS, *CONFIG_OF_COMMANDS, web_search.TOOLS, web_search.KEY)
# CONFIG_OF_OPERATOR is refused because it would widen what a user may do: where secrets and requests go, what
# runs outside of a sandbox, what a sandbox allows. All other keys are ignored with a warning.
MCP_SERVERS = "mcp_servers"  # of an editor, or the user's own; shared.config.client_mcp_servers says which count
MAX_CONFIG_KEYS = 500  # of `config`: each key with dots is read and merged
CONFIG_IGNORED = ("model_context_window", "model_auto_compact_token_limit")  # the operator's, but harmless to ask for
CONFIG_OF_OPERATOR = {field.name for field in fields(Config)} - {
    *CONFIG_KEYS,
    *PROJECT_DOC_KEYS,
    *CONFIG_IGNORED,
    *CONFIG_OF_COMMANDS,
    *CONFIG_OF_TOOLS,
    MCP_SERVERS,
    *CONFIG_WITHOUT_EFFECT,
} | {
    "chatgpt_base_url",
    "hooks",
    "openai_base_url",
    "permissions",
    "profile",
    "profiles",
}
CODEX_HOME = "/threadhouse"  # clients demand a path; the server's real folders are not shown to them


@dataclass(frozen=True, kw_only=True)
class SettingsParams(MethodParams):
    """Overrides that become the thread's settings. All are optional (PROTOCOL section 4).

    model:          a model of model/list
    model_provider: a provider of modelProvider/list
    cwd:            the folder that the agent works in, an absolute path
    approval_policy: when a person is asked for an approval
    approvals_reviewer: "user": a client answers approval requests; otherwise they are declined
    sandbox:        a sandbox mode
    sandbox_policy: a policy object, instead of `sandbox`
    permissions:    the id of a permission profile (permissionProfile/list), instead of `sandbox`
    effort:         reasoning effort of the model
    summary:        how much of its reasoning the model summarizes
    personality, service_tier: stored and returned, without other effect
    collaboration_mode: whether the agent works or only plans; its model and effort win over `model` and `effort`
    base_instructions: text that replaces the system prompt
    developer_instructions: text that is added to the system prompt
    config:         keys of config.toml. Those that set one of the members above count; keys of the operator are
                    refused; all others are ignored, which thread/start says by `configWarning` and `warning`
    Errors:         InvalidParams (a key, mode or path that this server does not allow)
    """

    model: str | None = None
    model_provider: str | None = None
    cwd: str | None = None
    approval_policy: ApprovalPolicy | None = None
    approvals_reviewer: Annotated[str, variant(*REVIEWERS)] | None = None
    sandbox: Annotated[str, variant(*SANDBOX_MODES)] | None = None
    sandbox_policy: Annotated[Mapping[str, object], SandboxPolicy] | None = None
    permissions: str | None = None
    effort: Annotated[str, variant(*REASONING_EFFORTS)] | None = None
    summary: Annotated[str, variant(*REASONING_SUMMARIES)] | None = None
    personality: str | None = None
    service_tier: str | None = None
    collaboration_mode: Annotated[Mapping[str, object], CollaborationMode] | None = None
    base_instructions: str | None = None
    developer_instructions: str | None = None
    config: Annotated[Mapping[str, object], validate.Length(max=MAX_CONFIG_KEYS)] | None = None


class Overrides(TypedDict, total=False):
    """The members of SettingsParams that a request gives."""

    model: str
    model_provider: str
    cwd: str
    approval_policy: object
    approvals_reviewer: str
    sandbox: str
    sandbox_policy: Mapping[str, object]
    permissions: str
    effort: str
    summary: str
    personality: str
    service_tier: str
    collaboration_mode: Mapping[str, object]
    base_instructions: str
    developer_instructions: str
    config: Mapping[str, object]


MAX_SETTINGS_BYTES = 512 * 1024
# Members that become settings as they are → the name of the setting.
UNCHECKED = {
    "model": "model",
    "effort": "effort",
    "summary": "summary",
    "approvals_reviewer": "approvalsReviewer",
    "personality": "personality",
    "service_tier": "serviceTier",
    "base_instructions": "baseInstructions",
    "developer_instructions": "developerInstructions",
}


def defaults(config: Config, owner: str, thread_id: str) -> ThreadSettings:
    """Return the settings of a thread whose client asks for nothing."""
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


def overrides(params: SettingsParams) -> Overrides:
    """Return the settings that a request gives."""
    given = ((name, getattr(params, name)) for name in SettingsParams.__dataclass_fields__)
    return cast(Overrides, {name: value for name, value in given if value is not None})


def load_overrides(values: Mapping[str, object]) -> Overrides:
    """Return members of SettingsParams, given by their names on the wire. Errors: InvalidParams."""
    return overrides(load_params(SettingsParams, dict(values)))


def changes(config: Config, owner: str, given: Overrides, thread_id: str) -> SettingsChanges:
    """Return what a client changes of a thread's settings, by their names on the wire. Errors: InvalidParams."""
    asked = cast(Overrides, {**_from_config(given.get("config", {})), **given})
    changed = cast(SettingsChanges, {wire: asked[name] for name, wire in UNCHECKED.items() if name in asked})  # type: ignore[literal-required]
    if (policy := shell_environment.shell_environment(given.get("config", {}))) is not None:
        changed["shellEnvironmentPolicy"] = policy
    if (allows_login := shell_environment.login_shell(given.get("config", {}))) is not None:
        changed["allowLoginShell"] = allows_login
    if (chosen := web_search.web_search(given.get("config", {}))) is not None:
        changed["webSearch"] = chosen
    if "model_provider" in asked:
        changed["modelProvider"] = _provider(config, asked["model_provider"])
    if "cwd" in asked:
        changed["cwd"] = allowed_path(config, owner, asked["cwd"], "cwd", thread_id)
    if "approval_policy" in asked:
        changed["approvalPolicy"] = _approval_policy(asked["approval_policy"])
    if "permissions" in asked and ("sandbox" in asked or "sandbox_policy" in asked):
        raise InvalidParams("permissions cannot be combined with a sandbox; send one of them")
    if "sandbox" in asked:
        changed["sandboxPolicy"] = allowed_mode(config, owner, asked["sandbox"])
    if "sandbox_policy" in asked:
        changed["sandboxPolicy"] = allowed_policy(config, owner, asked["sandbox_policy"], thread_id)
    if "permissions" in asked:
        changed["sandboxPolicy"] = allowed_profile(config, owner, asked["permissions"])
    _set_project_docs(changed, given.get("config", {}))
    servers = value_of(given.get("config", {}), MCP_SERVERS)
    if servers is not None and checked_tables(servers, f"config.{MCP_SERVERS}"):
        changed["mcpServers"] = servers
    if "collaboration_mode" in asked:
        _set_collaboration_mode(changed, asked["collaboration_mode"])
    for name in ("model", "personality", "serviceTier"):
        if len(str(changed.get(name) or "")) > MAX_LABEL_CHARACTERS:
            raise InvalidParams(f"{name}: longer than {MAX_LABEL_CHARACTERS} characters")
    check_size(changed)
    return changed


def check_size(settings: Mapping[str, object]) -> None:
    """Check settings that a thread's row keeps: each list and each step reads them. Errors: InvalidParams."""
    size = len(orjson.dumps(settings))
    if size > MAX_SETTINGS_BYTES:
        raise InvalidParams(
            f"settings of {size} bytes: with its instructions and tools a thread may have {MAX_SETTINGS_BYTES}; "
            "put long texts into files of the workspace"
        )


def ignored_keys(values: Mapping[str, object]) -> list[str]:
    """Return the keys of `config` that mean nothing to this server, other than those that clients always send."""
    of_parts = (*CONFIG_OF_COMMANDS, *CONFIG_OF_TOOLS, MCP_SERVERS)
    known = {*CONFIG_KEYS, *PROJECT_DOC_KEYS, *CONFIG_WITHOUT_EFFECT, *of_parts, *CONFIG_OF_OPERATOR}
    return [key for key in values if key.split(".")[0] not in known]


def refused_mcp_servers(config: Config, owner: str, *layers: object) -> list[str]:
    """Return sentences about the MCP servers, in tables such as `[mcp_servers]`, that a thread does not get."""
    brought = merge_layers(*(layer for layer in layers if isinstance(layer, dict)))
    return effective_servers(config.mcp_servers, brought, UserMcp.of(config.server, hosted=owner != LOCAL_USER))[1]


def without_unchanged(changed: SettingsChanges, settings: Mapping[str, object]) -> SettingsChanges:
    """Return the changes that differ from a thread's present settings."""
    return cast(SettingsChanges, {name: value for name, value in changed.items() if settings.get(name) != value})


def user_defaults(config: Config, owner: str, values: Mapping[str, object]) -> SettingsChanges:
    """Return what a user's own configuration changes, without values that the server no longer allows."""
    changed: SettingsChanges = {}
    for key in USER_KEYS:
        if (value := values.get(key)) is None:
            continue
        try:
            one = changes(config, owner, {"config": {key: value}}, thread_id="")  # no key names a path
        except RequestError:
            continue
        web_search.merge(one, changed)
        changed |= one
    return changed


def _from_config(values: Mapping[str, object]) -> Overrides:
    """Return the keys of `config` as members of SettingsParams. Errors: InvalidParams."""
    asked: dict[str, object] = {}
    for key, value in values.items():
        if key in CONFIG_KEYS:
            asked[CONFIG_KEYS[key]] = value
        elif key.split(".")[0] in CONFIG_OF_OPERATOR:
            raise InvalidParams(
                f"config.{key[:200]}: only the operator of this server sets this key, for it decides what threads may "
                "reach; leave it out"
            )
    return load_overrides({camel_case(name): value for name, value in asked.items() if value is not None})


def _provider(config: Config, name: str) -> str:
    if name not in config.model_providers and name != SCRIPTED:
        raise InvalidParams(f"Model provider `{name[:200]}` not found")
    return name


def _approval_policy(policy: object) -> ApprovalPolicy:
    granular = policy.get("granular") if isinstance(policy, dict) else None
    if isinstance(granular, dict):
        return {"granular": _granular(granular)}
    if isinstance(policy, str) and policy in APPROVAL_POLICIES:
        return policy
    shown = f"`{policy[:80]}`" if isinstance(policy, str) else "`granular`"
    raise InvalidParams(
        f"Invalid request: unknown variant {shown}, expected one of `untrusted`, `on-request`, `granular`, `never`"
    )


def _granular(kinds: Mapping[str, object]) -> dict[str, bool]:
    """Return which kinds of approvals may be asked for; a kind that is not named may not. Errors: InvalidParams."""
    granted = {kind: kinds.get(kind, False) for kind in GRANULAR_KINDS}
    if not all(isinstance(value, bool) for value in granted.values()):
        raise InvalidParams(f"approvalPolicy.granular: expected booleans named {', '.join(GRANULAR_KINDS)}")
    return cast(dict[str, bool], granted)


def _set_project_docs(changed: SettingsChanges, values: Mapping[str, object]) -> None:
    """Set which instruction files of a project count, and how much of them. Errors: InvalidParams."""
    max_bytes, names = map(values.get, PROJECT_DOC_KEYS)
    if max_bytes is not None:
        if not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes < 0:
            raise InvalidParams("config.project_doc_max_bytes: expected a number of bytes, 0 or more")
        changed["projectDocMaxBytes"] = max_bytes
    if names is not None:
        if not isinstance(names, list) or len(names) > MAX_FALLBACK_NAMES or not all(map(_is_file_name, names)):
            raise InvalidParams(
                f"config.project_doc_fallback_filenames: expected at most {MAX_FALLBACK_NAMES} names of files, no paths"
            )
        changed["projectDocFallbackFilenames"] = names


def _is_file_name(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) < 256 and name not in (".", "..") and not {"/", "\0"} & set(name)


def _set_collaboration_mode(changed: SettingsChanges, mode: Mapping[str, object]) -> None:
    """Set the mode, whose model and effort win over the other members (PROTOCOL section 4). Errors: InvalidParams."""
    chosen, settings = mode.get("mode"), mode.get("settings")
    if chosen not in ("default", "plan") or not isinstance(settings, dict):
        raise InvalidParams("collaborationMode: expected {mode: default or plan, settings}")
    kept = {name: settings.get(name) for name in ("model", "reasoning_effort", "developer_instructions")}
    if not all(value is None or isinstance(value, str) for value in kept.values()):
        raise InvalidParams("collaborationMode.settings: expected strings")
    changed["collaborationMode"] = cast(CollaborationMode, {"mode": chosen, "settings": cast(ModeSettings, kept)})
    if kept["model"]:
        changed["model"] = kept["model"]
    if kept["reasoning_effort"]:
        changed["effort"] = kept["reasoning_effort"]
