"""`[limits]` and `[retention]`: how much may be used, and for how long it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from shared.config.setting import Setting


@dataclass(frozen=True)
class Limits:
    """How much may be used; 0 means no limit, if nothing else is said.

    Those that are set per user are the defaults of all users.
    """

    turns_at_once: Annotated[
        int, Setting("Turns of one user that run at the same time; more turns wait.", per_user=True)
    ] = 0
    queued_turns: Annotated[int, Setting("Turns of one user that may wait; more turns are refused.", per_user=True)] = (
        1000
    )
    requests_per_minute: Annotated[
        int, Setting("Requests of one user per minute, over WebSocket and HTTP together.", per_user=True)
    ] = 0
    connections: Annotated[
        int,
        Setting("Open WebSockets and event streams of one user, in all API processes together.", per_user=True),
    ] = 0
    threads: Annotated[int, Setting("Threads of one user, including archived ones.", per_user=True)] = 0
    stored_bytes: Annotated[
        int,
        Setting("Size of the items in all threads of one user, counted when turns end.", unit="bytes", per_user=True),
    ] = 0
    tokens_per_day: Annotated[
        int, Setting("Input and output tokens of one user per day (UTC).", unit="tokens", per_user=True)
    ] = 0
    tokens_per_month: Annotated[
        int, Setting("Input and output tokens of one user per calendar month (UTC).", unit="tokens", per_user=True)
    ] = 0
    warn_percent: Annotated[
        int,
        Setting(
            "Part of a token budget after which the user is warned, once per day or month.",
            unit="%",
            minimum=1,
            maximum=100,
        ),
    ] = 80
    history_bytes: Annotated[
        int,
        Setting(
            "Size of what one thread puts before its model: its items since the last compaction, and unread input. "
            "A thread over it has to be compacted, for which it may have twice as much.",
            unit="bytes",
        ),
    ] = 32 << 20
    waiting_turns: Annotated[int, Setting("Turns of all users that may wait; more turns are refused.")] = 10_000
    workspace_bytes: Annotated[
        int,
        Setting("Size of one workspace of a user with keys; a command that writes more is ended.", unit="bytes"),
    ] = 10 << 30
    workspace_files: Annotated[
        int, Setting("Files and folders in one workspace of a user with keys; a command that makes more is ended.")
    ] = 500_000
    workspaces_bytes: Annotated[
        int,
        Setting("Size of all workspaces of one user; commands of the user that write more are ended.", unit="bytes"),
    ] = 0
    workspaces_files: Annotated[
        int, Setting("Files and folders in all workspaces of one user; commands that make more are ended.")
    ] = 0
    background_terminals: Annotated[
        int,
        Setting(
            "Commands of one user that run on after their turns; when a turn ends, commands over it are ended. 0: none."
        ),
    ] = 8
    command_memory_bytes: Annotated[
        int, Setting("Memory of all processes of one command of a user with keys.", unit="bytes")
    ] = 4 << 30


@dataclass(frozen=True)
class Retention:
    """How many days data is kept; 0 means for ever."""

    threads_days: Annotated[
        int, Setting("Threads and all of their data, after the thread last changed.", unit="days")
    ] = 0
    archived_threads_days: Annotated[
        int, Setting("Archived threads and all of their data, after the thread last changed.", unit="days")
    ] = 0
    feedback_days: Annotated[
        int, Setting("Processed feedback reports, including what the sinks of this deployment keep.", unit="days")
    ] = 0
    audit_days: Annotated[int, Setting("Rows of the audit log.", unit="days")] = 0
    receipts_days: Annotated[int, Setting("Receipts of erasures.", unit="days")] = 0
