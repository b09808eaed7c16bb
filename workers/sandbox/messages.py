"""The messages between a worker and its tool runner, one TypedDict each; workers.sandbox.channel carries them.

A worker opens a connection and sends either RunRequest, once, or any number of OperationRequests, one after the other.

    RunRequest        → Started with descriptors, or Failure; the worker's MayRun and StopRequest; Ended at the end
    OperationRequest  → OperationResult, or Failure

The operation HEARTBEAT has no function. It is answered while the runner can start and end commands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

HEARTBEAT = "heartbeat"


class RunRequest(TypedDict):
    """Start a command.

    command:     a CommandSpec as `to_message` gives it
    private_tmp, visible: of its policy; a worker of version 0.1.0 sends none
    """

    do: Literal["run"]
    command: Mapping[str, object]
    private_tmp: NotRequired[Path | None]
    visible: NotRequired[Sequence[Path]]


class OperationRequest(TypedDict):
    """Call a function of runner.OPERATIONS. do: its name."""

    do: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]


class OperationResult(TypedDict):
    """What the function returned."""

    result: Any


class Started(TypedDict):
    """The sandbox is being set up. Its descriptors: the guard, then the terminal, or the output and, if separate, the
    errors.

    limits_time: the runner understands MayRun; one of version 0.1.0 does not, and sends none
    """

    started: Literal[True]
    limits_time: NotRequired[bool]


class MayRun(TypedDict):
    """The command may run for so many seconds from now on; then the runner ends it. The newest message counts.

    While a worker sends none, as in version 0.1.0, a command runs until its connection ends.
    """

    may_run: float


class StopRequest(TypedDict):
    """Send TERM to every process of the command, and KILL after so many seconds to those that are left."""

    stop: float


class Ended(TypedDict):
    """The command has ended.

    status:  as Popen.returncode
    stopped: why the runner ended it early; BY_WORKER when the worker asked for it; None when it ended by itself
    notes:   what the model and the user should know besides; a runner of version 0.1.0 sends none
    """

    status: int
    stopped: str | None
    notes: NotRequired[Sequence[str]]


class Failure(TypedDict):
    """An error. error: the name of its class; arguments: what that class is constructed with."""

    error: str
    arguments: list[Any]
