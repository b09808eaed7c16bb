"""What is to run, where, and within which bounds: the part of a command that a worker sends to the tool runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy

TERMINAL_ROWS_COLUMNS = (24, 120)


@dataclass(frozen=True, kw_only=True)
class CommandSpec:
    """A command to run.

    argv:            its program and arguments
    cwd:             the folder that it runs in
    policy, limits:  what it may touch, and how much it may use
    tty:             give it a terminal of rows_columns
    has_input:       let it be written to even without a terminal; otherwise its input is empty
    separate_stderr: keep standard error apart from standard output; not with a terminal
    env:             additional variables, and None for those to leave out. Only the command gets them: bwrap itself,
                     which runs on the host, would load the library that a variable can name.
    bwrap:           path of bubblewrap; None: the runner finds it
    """

    argv: Sequence[str]
    cwd: Path
    policy: SandboxPolicy
    limits: CommandLimits
    tty: bool = False
    rows_columns: tuple[int, int] = TERMINAL_ROWS_COLUMNS
    has_input: bool = False
    separate_stderr: bool = False
    env: Mapping[str, str | None] = field(default_factory=dict)
    bwrap: str | None = None

    def to_message(self) -> Mapping[str, object]:
        """Return the fields as plain data, as a Channel sends them, without the policy's private_tmp and visible.

        Runners of earlier releases do not know these: RunRequest has them beside the command.
        """
        fields = asdict(self)
        del fields["policy"]["private_tmp"], fields["policy"]["visible"]
        return fields

    @classmethod
    def from_message(
        cls, fields: Mapping[str, Any], private_tmp: Path | None = None, visible: Sequence[Path] = ()
    ) -> CommandSpec:
        """Return what `to_message` was made from. Errors: TypeError when a field is missing or unknown."""
        policy = SandboxPolicy(**fields["policy"], private_tmp=private_tmp, visible=tuple(visible))
        limits = CommandLimits(**fields["limits"])
        return cls(**{**fields, "policy": policy, "limits": limits})
