"""The settings of a thread (PROTOCOL section 4), under their names on the wire: as stored and as clients see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NotRequired, TypedDict

from marshmallow import validate

from shared.protocol.dynamic_tools import DynamicTool
from shared.protocol.hooks import Hook
from shared.protocol.sandbox_modes import PolicyType
from shared.protocol.web_search import WebSearchSettings
from shared.shell_environment import ShellEnvironmentPolicy


class SandboxPolicy(TypedDict):
    """What commands of a thread may read and write.

    Shape: {"type": "readOnly" | "externalSandbox", "networkAccess": bool} | {"type": "dangerFullAccess"}
           | {"type": "workspaceWrite", "writableRoots", "networkAccess", "excludeTmpdirEnvVar", "excludeSlashTmp"}
    """

    type: PolicyType
    writableRoots: NotRequired[Sequence[str]]
    networkAccess: NotRequired[bool]
    excludeTmpdirEnvVar: NotRequired[bool]
    excludeSlashTmp: NotRequired[bool]


READ_ONLY_POLICY: SandboxPolicy = {"type": "readOnly"}
FULL_ACCESS_POLICY: SandboxPolicy = {"type": "dangerFullAccess"}


class GranularPolicy(TypedDict):
    """Approvals may be asked for by kind. granular: kind of approval → whether it may be asked for"""

    granular: Mapping[str, bool]


ApprovalPolicy = Annotated[str, validate.OneOf(("untrusted", "on-request", "never"))] | GranularPolicy


class ModeSettings(TypedDict):
    """The settings of a collaboration mode; snake_case on the wire too."""

    model: str | None
    reasoning_effort: str | None
    developer_instructions: str | None


class CollaborationMode(TypedDict):
    """Whether the model works or only plans."""

    mode: Literal["default", "plan"]
    settings: ModeSettings


class ThreadSettings(TypedDict):
    """The settings that a thread is stored with.

    cwd:              absolute path
    effort, summary:  of the model's reasoning; None: the model's defaults
    dynamicTools:     tools of the thread's client
    shellEnvironmentPolicy, allowLoginShell: of its commands; absent: as configured
    webSearch:        what was chosen of web search; absent: as configured
    projectDocMaxBytes, projectDocFallbackFilenames: as of the server's configuration, whose values they replace
    instructionSources: paths of the files, as the last reply to thread/start or thread/resume had them
    hooks:            of the project, as thread/start or thread/resume found them; they run once the user trusts them
    workspace:        True: the thread has a workspace of its own, made from a source, that its turns look for
    mcpServers:       tables of MCP servers that the client brought, as `[mcp_servers]` of config.toml; may hold secrets
    """

    model: str
    modelProvider: str
    cwd: str
    approvalPolicy: ApprovalPolicy
    approvalsReviewer: str
    sandboxPolicy: SandboxPolicy
    effort: NotRequired[str | None]
    summary: NotRequired[str | None]
    serviceTier: NotRequired[str | None]
    personality: NotRequired[str | None]
    collaborationMode: NotRequired[CollaborationMode | None]
    developerInstructions: NotRequired[str | None]
    baseInstructions: NotRequired[str | None]
    dynamicTools: NotRequired[Sequence[DynamicTool]]
    shellEnvironmentPolicy: NotRequired[ShellEnvironmentPolicy]
    allowLoginShell: NotRequired[bool]
    webSearch: NotRequired[WebSearchSettings]
    workspace: NotRequired[bool | None]
    mcpServers: NotRequired[Mapping[str, Mapping[str, object]] | None]
    projectDocMaxBytes: NotRequired[int | None]
    projectDocFallbackFilenames: NotRequired[Sequence[str] | None]
    instructionSources: NotRequired[Sequence[str] | None]
    hooks: NotRequired[Sequence[Hook]]


class SettingsChanges(TypedDict, total=False):
    """Changes of a thread's settings; a setting that is absent stays."""

    model: str
    modelProvider: str
    cwd: str
    approvalPolicy: ApprovalPolicy
    approvalsReviewer: str
    sandboxPolicy: SandboxPolicy
    effort: str | None
    summary: str | None
    serviceTier: str | None
    personality: str | None
    collaborationMode: CollaborationMode | None
    developerInstructions: str | None
    baseInstructions: str | None
    dynamicTools: Sequence[DynamicTool]
    shellEnvironmentPolicy: ShellEnvironmentPolicy
    allowLoginShell: bool
    webSearch: WebSearchSettings
    workspace: bool | None
    mcpServers: Mapping[str, Mapping[str, object]] | None
    projectDocMaxBytes: int | None
    projectDocFallbackFilenames: Sequence[str] | None
    instructionSources: Sequence[str] | None
    hooks: Sequence[Hook]
