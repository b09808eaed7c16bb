"""The names of the sandbox modes, in the one table that decides what each of them grants.

A mode has three names: its own in config.toml and in `sandbox`, that of a permission profile, and the type of a policy
object (PROTOCOL section 4). The API checks what a user may ask for by these names and a worker confines commands by
them, so both sides must read the same table. The module is a leaf, because the configuration reads it too.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

SandboxMode = Literal["read-only", "workspace-write", "danger-full-access"]
PolicyType = Literal["readOnly", "workspaceWrite", "dangerFullAccess", "externalSandbox"]

READ_ONLY: Final = "read-only"
WORKSPACE_WRITE: Final = "workspace-write"
FULL_ACCESS: Final = "danger-full-access"  # the host with its network; nothing is hidden from a command
# A policy type without a mode of its own: the client declares that something outside the server confines commands.
EXTERNAL_SANDBOX: Final = "externalSandbox"


class ModeNames(NamedTuple):
    """One sandbox mode under its three names."""

    mode: SandboxMode
    profile: str
    policy_type: PolicyType


TABLE = (
    ModeNames(READ_ONLY, ":read-only", "readOnly"),
    ModeNames(WORKSPACE_WRITE, ":workspace", "workspaceWrite"),
    ModeNames(FULL_ACCESS, ":danger-full-access", "dangerFullAccess"),
)

SANDBOX_MODES: tuple[SandboxMode, ...] = tuple(names.mode for names in TABLE)
MODE_OF_PROFILE: dict[str, SandboxMode] = {names.profile: names.mode for names in TABLE}
PROFILE_OF_POLICY_TYPE: dict[str, str] = {names.policy_type: names.profile for names in TABLE}
MODE_OF_POLICY_TYPE: dict[str, SandboxMode] = {
    **{names.policy_type: names.mode for names in TABLE},
    EXTERNAL_SANDBOX: FULL_ACCESS,
}
