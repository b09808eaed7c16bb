"""threadhouse exec: run one turn on a running server, from a terminal or a script, as `codex exec` does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import urlsplit

import click

from api.cli import exec_input
from api.cli.client import Client, EventData
from api.cli.exec_events import ExecEvents
from api.cli.host import is_loopback
from api.cli.login.logins import server_token
from api.cli.options import server_url
from api.cli.output import Output
from api.cli.progress import Progress
from api.cli.turn_stream import TurnStream
from shared.errors import InvalidRequest, Unavailable
from shared.protocol.sandbox_modes import SANDBOX_MODES
from shared.protocol.user_input import UserInput

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as in shells


class WorkspaceSource(TypedDict, total=False):
    """Where the files of a new thread come from: a git repository, or an uploaded archive."""

    gitUrl: str
    ref: str
    credential: str
    archive: str


class ThreadParams(TypedDict, total=False):
    """The params of thread/start and thread/resume that the command sets."""

    cwd: str
    model: str
    sandbox: str
    approvalPolicy: str
    config: dict[str, WorkspaceSource]


class _ExecCommand(click.Command):
    """Accepts `--json=wire` beside `--json`, an option whose value is optional, which click has not."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--json-wire" if word == "--json=wire" else word for word in args])


@click.command("exec", cls=_ExecCommand)
@click.argument("words", nargs=-1, metavar="[PROMPT | resume (ID | --last) [PROMPT]]")
@click.option(
    "-C", "--cd", "cwd", metavar="DIR", help="Folder to work in (default: the current folder, if the server is local)."
)
@click.option("-m", "--model", metavar="MODEL", help="Model to use (default: the server's).")
@click.option(
    "-s",
    "--sandbox",
    type=click.Choice(SANDBOX_MODES),
    help="What commands may read and write (default: the server's).",
)
@click.option(
    "-i",
    "--image",
    "images",
    multiple=True,
    metavar="FILE",
    help="Send this image with the prompt; repeat it, or separate names by commas, for more.",
)
@click.option(
    "--output-schema",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="JSON Schema that the last message must satisfy.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print events as lines of JSON, as `codex exec --json` does; --json=wire: the server's notifications.",
)
@click.option("--json-wire", "as_wire", is_flag=True, hidden=True)
@click.option(
    "-o",
    "--output-last-message",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write the agent's last message to FILE.",
)
@click.option("--last", is_flag=True, help="With resume: continue the thread that was used last.")
@click.option("--git", "git_url", metavar="URL", help="Start from a clone of this repository (docs/WORKSPACES.md).")
@click.option("--ref", metavar="REF", help="With --git: branch, tag or commit to check out.")
@click.option("--credential", metavar="NAME", help="With --git: name of the server's credential to clone with.")
@click.option(
    "--archive",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Start from the files of this zip, tar or tar.gz.",
)
def exec(
    words: tuple[str, ...],
    cwd: str | None,
    model: str | None,
    sandbox: str | None,
    images: tuple[str, ...],
    output_schema: Path | None,
    as_json: bool,
    as_wire: bool,
    output_last_message: Path | None,
    last: bool,
    git_url: str | None,
    ref: str | None,
    credential: str | None,
    archive: Path | None,
) -> None:
    """Run one turn and print the agent's last message.

    Without PROMPT, or with "-", the prompt is read from stdin; beside a PROMPT, piped text is appended to it as a
    <stdin> block. Progress goes to stderr. What would need an approval is denied, because nobody can be asked.
    THREADHOUSE_URL names the server, THREADHOUSE_TOKEN the API key (default: the login of `threadhouse
    login`). Exit code 1: the turn failed or was interrupted.
    """
    out, err = Output(sys.stdout), Output(sys.stderr)
    url = server_url()
    token = server_token(url)
    client = Client(url, token)
    thread_id, given_prompt = _thread_id_and_prompt(words, last)
    has_source = _has_source(git_url, ref, credential, archive)
    if has_source and (thread_id is not None or last or cwd is not None):
        raise click.UsageError("--git and --archive start a new thread in its own folder: use neither --cd nor resume")
    if output_last_message is not None and not output_last_message.absolute().parent.is_dir():
        raise click.UsageError(f"--output-last-message: there is no folder {output_last_message.parent}: create it")
    schema = None if output_schema is None else exec_input.read_schema(output_schema)
    user_input: list[UserInput] = [*exec_input.read_images(images)]
    if not client.is_ready():
        raise Unavailable(f"no server answers at {url}: start one with `threadhouse up`, or set THREADHOUSE_URL")
    user_input.append({"type": "text", "text": exec_input.read_prompt(given_prompt, err)})
    is_local = token is None and is_loopback(urlsplit(url).hostname or "")
    if last:
        thread_id = _last_thread_id(client)
    if not has_source and (cwd is not None or (thread_id is None and is_local)):
        cwd = os.path.abspath(cwd or ".")
    settings = _settings(cwd, model, sandbox)
    if git_url is not None:
        settings["config"] = {"workspace": _git_source(git_url, ref, credential)}
    elif archive is not None:
        settings["config"] = {"workspace": {"archive": client.upload(archive)}}
    thread = _open_thread(client, thread_id, settings)

    turn = TurnStream(client, thread["id"], user_input, err, schema)
    show = _print_json(out, ExecEvents() if as_json else None) if as_json or as_wire else Progress(err)
    show({"method": "thread/started", "params": {"thread": thread}})
    _follow(turn, thread["id"], client, show)
    if turn.message and not (as_json or as_wire or (out.is_terminal and err.is_terminal)):
        out.write(turn.message)
    if output_last_message is not None:
        _write_message(output_last_message, turn.message, err)
    if out.error is not None:
        raise Unavailable(f"stdout took only a part of the output: {out.error.strerror}")
    if turn.status != "completed":
        sys.exit(1)


def _thread_id_and_prompt(words: tuple[str, ...], last: bool) -> tuple[str | None, str | None]:
    """Return (the thread to resume, the prompt); None: no thread by its id, the prompt is on stdin."""
    match words:
        case ("resume", thread_id, prompt) if not last:
            return thread_id, prompt
        case ("resume", thread_id) if not last:
            return thread_id, None
        case ("resume", prompt) if last:
            return None, prompt
        case ("resume",) if last:
            return None, None
        case (prompt,) if not last and prompt != "resume":
            return None, prompt
        case () if not last:
            return None, None
    raise click.UsageError(
        'expected "PROMPT", resume ID "PROMPT" or resume --last "PROMPT", with quotes around a PROMPT'
    )


def _has_source(git_url: str | None, ref: str | None, credential: str | None, archive: Path | None) -> bool:
    """Return whether a new thread starts from a repository or an archive."""
    if git_url is not None and archive is not None:
        raise click.UsageError("--git and --archive exclude each other")
    if git_url is None and (ref is not None or credential is not None):
        raise click.UsageError("--ref and --credential require --git")
    return git_url is not None or archive is not None


def _settings(cwd: str | None, model: str | None, sandbox: str | None) -> ThreadParams:
    settings: ThreadParams = {"approvalPolicy": "never"}
    if cwd is not None:
        settings["cwd"] = cwd
    if model is not None:
        settings["model"] = model
    if sandbox is not None:
        settings["sandbox"] = sandbox
    return settings


def _git_source(url: str, ref: str | None, credential: str | None) -> WorkspaceSource:
    source: WorkspaceSource = {"gitUrl": url}
    if ref is not None:
        source["ref"] = ref
    if credential is not None:
        source["credential"] = credential
    return source


def _last_thread_id(client: Client) -> str:
    """Return the id of the thread that was used last. Errors: InvalidRequest (there is none)."""
    found = client.call("thread/list", {"limit": 1, "sortKey": "recency_at"})["data"]
    if not found:
        raise InvalidRequest("there is no thread to resume yet: run without --last")
    thread_id: str = found[0]["id"]
    return thread_id


def _open_thread(client: Client, thread_id: str | None, settings: ThreadParams) -> Any:
    """Start a thread, or resume this one. Return its object."""
    if thread_id is None:
        return client.call("thread/start", settings)["thread"]
    return client.call("thread/resume", {"threadId": thread_id, "excludeTurns": True, **settings})["thread"]


def _follow(turn: TurnStream, thread_id: str, client: Client, show: Callable[[EventData], None]) -> None:
    """Show the turn until it ends; Ctrl-C interrupts the turn and ends the process. No command of it runs on."""
    commands: set[str] = set()
    try:
        for event in turn.events():
            item = event["params"].get("item", {}) if event["method"] == "item/started" else {}
            if item.get("type") == "commandExecution":
                commands.add(item["id"])
            show(event)
    except KeyboardInterrupt:
        turn.interrupt()
        _end_commands(client, thread_id, commands)
        sys.exit(EXIT_INTERRUPTED)
    _end_commands(client, thread_id, commands)


def _end_commands(client: Client, thread_id: str, item_ids: set[str]) -> None:
    """End those of these commands that still run, as the original does when its process ends."""
    if item_ids:
        for terminal in client.call("thread/backgroundTerminals/list", {"threadId": thread_id})["data"]:
            if terminal["itemId"] in item_ids:
                given = {"threadId": thread_id, "processId": terminal["processId"]}
                client.call("thread/backgroundTerminals/terminate", given)


def _print_json(out: Output, events: ExecEvents | None) -> Callable[[EventData], None]:
    """Return a function that prints an event as lines of JSON: as it came, or as the events of the original."""

    def show(event: EventData) -> None:
        for line in [event] if events is None else events.convert(event):
            out.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")))

    return show


def _write_message(file: Path, message: str | None, err: Output) -> None:
    """Write the last message. Errors: InvalidRequest (the file cannot be written)."""
    if message is None:
        err.write(f"warning: the agent sent no message, {file} is empty")
    try:
        file.write_text(message or "", encoding="utf-8", errors="replace")
    except OSError as error:
        raise InvalidRequest(f"--output-last-message {file}: cannot be written: {error.strerror}") from None
