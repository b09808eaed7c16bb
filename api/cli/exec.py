"""threadhouse exec: one turn on a running server, from a terminal or a script, as `codex exec` does it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from api.cli.client import RESULT, Client, Event
from shared.config import SANDBOX_MODES
from shared.errors import InvalidRequest, ThreadhouseError, Unavailable
from shared.ids import new_id

DEFAULT_URL = "http://127.0.0.1:8765"
AGAIN_SECONDS = 0.5  # between two attempts to reach a server that went away
GONE_SECONDS = 120.0  # a server that is away for longer is not waited for; its turn goes on all the same
LOG_BEGIN = "0-0"  # before every event
INTERRUPTED_BY_USER = 130  # 128 + SIGINT, as shells have it


@click.command("exec")
@click.argument("words", nargs=-1, required=True, metavar="PROMPT | resume (ID | --last) PROMPT")
@click.option("-C", "--cd", "cwd", metavar="DIR", help="Folder to work in (a local server: default the current one).")
@click.option("-m", "--model", metavar="MODEL", help="The model to ask.")
@click.option("-s", "--sandbox", type=click.Choice(SANDBOX_MODES), help="What commands may do.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON, as the wire has it.")
@click.option("--output-last-message", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@click.option("--last", is_flag=True, help="With resume: the thread that was used last.")
@click.option("--git", "git_url", metavar="URL", help="Begin with a clone of this repository (docs/WORKSPACES.md).")
@click.option("--ref", metavar="REF", help="With --git: the branch, tag or commit.")
@click.option("--credential", metavar="NAME", help="With --git: which of the server's credentials to use.")
@click.option(
    "--archive",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Begin with the files of this zip, tar or tar.gz.",
)
def exec(
    words: tuple[str, ...],
    cwd: str | None,
    model: str | None,
    sandbox: str | None,
    as_json: bool,
    output_last_message: Path | None,
    last: bool,
    git_url: str | None,
    ref: str | None,
    credential: str | None,
    archive: Path | None,
) -> None:
    """Run one turn and print the agent's last message; "-" reads the PROMPT from stdin.

    Progress goes to stderr. Nobody is asked for approval: what would need one is refused. The server is that of
    THREADHOUSE_URL, with the key THREADHOUSE_TOKEN. Exit code 1: the turn failed or was interrupted.
    """
    url, token = os.environ.get("THREADHOUSE_URL") or DEFAULT_URL, os.environ.get("THREADHOUSE_TOKEN") or None
    client = Client(url, token)
    resumed, prompt = _resumed_and_prompt(words, last)
    with_code = git_url is not None or archive is not None
    if (git_url is not None and archive is not None) or (
        with_code and (resumed is not None or last or cwd is not None)
    ):
        raise click.UsageError(
            "--git and --archive begin a new thread in a folder of its own: one of them, without --cd"
        )
    if git_url is None and (ref is not None or credential is not None):
        raise click.UsageError("--ref and --credential go with --git")
    if prompt == "-":
        prompt = sys.stdin.read()
    if not client.is_ready():
        raise Unavailable(f"no server answers at {url}; start one with: threadhouse up (THREADHOUSE_URL names another)")
    if not with_code and (
        cwd is not None or (resumed is None and token is None and urlsplit(url).hostname in ("127.0.0.1", "localhost"))
    ):
        cwd = os.path.abspath(cwd or ".")
    asked = {"cwd": cwd, "model": model, "sandbox": sandbox}
    settings: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    settings["approvalPolicy"] = "never"
    if last:
        found = client.call("thread/list", {"limit": 1, "sortKey": "recency_at"})["data"]
        if not found:
            raise InvalidRequest("there is no thread to resume yet")
        resumed = found[0]["id"]
    if git_url is not None:
        source = {"gitUrl": git_url, "ref": ref, "credential": credential}
        settings["config"] = {"workspace": {name: value for name, value in source.items() if value is not None}}
    elif archive is not None:
        settings["config"] = {"workspace": {"archive": client.upload(archive)}}
    if resumed is None:
        thread = client.call("thread/start", settings)["thread"]
    else:
        thread = client.call("thread/resume", {"threadId": resumed, "excludeTurns": True, **settings})["thread"]

    show: Callable[[dict[str, Any]], None] = _print_json if as_json else Progress(sys.stderr.isatty())
    show({"method": "thread/started", "params": {"thread": thread}})
    turn = Followed(client, thread["id"], prompt)
    try:
        for event in turn.events():
            show(event)
    except KeyboardInterrupt:
        turn.interrupt()
        sys.exit(INTERRUPTED_BY_USER)
    if output_last_message is not None:
        output_last_message.write_text(turn.message or "")
    if turn.message and not as_json and not (sys.stdout.isatty() and sys.stderr.isatty()):
        click.echo(turn.message)
    if turn.status != "completed":
        sys.exit(1)


def _resumed_and_prompt(words: tuple[str, ...], last: bool) -> tuple[str | None, str]:
    match words:
        case ("resume", thread_id, prompt) if not last:
            return thread_id, prompt
        case ("resume", prompt) if last:
            return None, prompt
        case (prompt,) if not last and prompt != "resume":
            return None, prompt
    raise click.UsageError('expected "PROMPT", resume ID "PROMPT" or resume --last "PROMPT"')


class Followed:
    """One turn, from its start to its end, over whatever happens to the connection.

    message: what the agent said last; status: how the turn ended
    """

    def __init__(self, client: Client, thread_id: str, prompt: str) -> None:
        self.message: str | None = None
        self.status = "inProgress"
        self._client = client
        self._thread_id = thread_id
        self._turn_id: str | None = None
        self._cursor = LOG_BEGIN
        self._completed: set[str] = set()  # ids of the items whose end was seen
        self._start = {
            "threadId": thread_id,
            "input": [{"type": "text", "text": prompt}],
            "clientUserMessageId": new_id(),  # the same request again changes nothing
        }

    def events(self) -> Iterator[dict[str, Any]]:
        """The turn's notifications, each once. Errors: Unavailable (the server is away for too long); Client's."""
        patience = time.monotonic() + GONE_SECONDS
        while self.status == "inProgress":
            try:
                for event in self._stream():
                    patience = time.monotonic() + GONE_SECONDS
                    if self._take(event):
                        yield event.data
                    if self.status != "inProgress":
                        return
            except Unavailable:
                if time.monotonic() > patience:
                    raise
            time.sleep(AGAIN_SECONDS)

    def interrupt(self) -> None:
        """Stop the turn; as well as a server that may be away lets us."""
        if self._turn_id is not None:
            try:
                self._client.call("turn/interrupt", {"threadId": self._thread_id, "turnId": self._turn_id})
            except ThreadhouseError as error:
                click.echo(f"the turn was not interrupted: {error}", err=True)

    def _stream(self) -> Iterator[Event]:
        """What is new. A turn that ended while we were away is told from what is stored."""
        if self._turn_id is None:
            yield from self._client.stream("turn/start", self._start)
            return
        thread = self._client.call("thread/read", {"threadId": self._thread_id, "includeTurns": True})["thread"]
        turn = next(turn for turn in thread["turns"] if turn["id"] == self._turn_id)
        if turn["status"] == "inProgress":
            yield from self._client.events(self._thread_id, after=self._cursor)
            return
        ids = {"threadId": self._thread_id, "turnId": self._turn_id}
        for item in turn["items"]:
            if item["id"] not in self._completed:
                yield _notification("item/completed", {**ids, "item": item, "completedAtMs": item["completedAtMs"]})
        yield _notification("turn/completed", {"threadId": self._thread_id, "turn": turn})

    def _take(self, event: Event) -> bool:
        """Note what an event says; whether it is one of this turn's notifications."""
        self._cursor = event.id or self._cursor
        if event.name == RESULT:
            self._turn_id = event.data["result"]["turn"]["id"]
            return False
        params = event.data.get("params", {})
        of_turn = params["turn"]["id"] if "turn" in params else params.get("turnId", self._turn_id)
        if of_turn != self._turn_id:
            return False
        if event.name == "item/completed":
            self._completed.add(params["item"]["id"])
            if params["item"]["type"] == "agentMessage":
                self.message = params["item"]["text"]
        elif event.name == "turn/completed":
            self.status = params["turn"]["status"]
        return True


def _notification(method: str, params: dict[str, Any]) -> Event:
    return Event(None, method, {"method": method, "params": params})


def _print_json(event: dict[str, Any]) -> None:
    click.echo(json.dumps(event, ensure_ascii=False))


class Progress:
    """A turn as people read it, on stderr; text as it arrives on a terminal, whole items elsewhere."""

    def __init__(self, is_terminal: bool) -> None:
        self._is_terminal = is_terminal
        self._streamed: set[str] = set()  # ids of the items whose text was shown as it arrived

    def __call__(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "thread/started":
                thread = params["thread"]
                self._say("thread", f"{thread['id']} in {thread['cwd']}, model {thread['model']}", "cyan")
            case "item/started" if params["item"]["type"] == "commandExecution":
                self._say("exec", params["item"]["command"], "magenta")
            case "item/started" if params["item"]["type"] == "agentMessage" and self._is_terminal:
                click.echo(click.style("agent", fg="green", bold=True), err=True)
            case "item/agentMessage/delta" | "item/commandExecution/outputDelta" if self._is_terminal:
                self._streamed.add(params["itemId"])
                click.echo(params["delta"], err=True, nl=False)
            case "item/completed":
                self._completed(params["item"])
            case "error":
                self._say("error", params["error"]["message"], "red")
            case "turn/completed" if params["turn"]["status"] == "interrupted":
                self._say("turn", "interrupted", "red")

    def _completed(self, item: dict[str, Any]) -> None:
        streamed = item["id"] in self._streamed
        match item["type"]:
            case "agentMessage":
                self._say("", "") if streamed else self._say("agent", item["text"], "green")
            case "reasoning" if item["summary"]:
                self._say("thinking", "\n".join(item["summary"]), "blue")
            case "commandExecution":
                if item["aggregatedOutput"] and not streamed:
                    click.echo(item["aggregatedOutput"].rstrip("\n"), err=True)
                exit_code = "" if item["exitCode"] is None else f", exit code {item['exitCode']}"
                self._say("", f"{item['status']}{exit_code}", "red" if item["status"] != "completed" else "green")
            case "fileChange":
                paths = ", ".join(change["path"] for change in item["changes"])
                self._say("patch", f"{item['status']}: {paths}", "magenta")

    def _say(self, who: str, text: str, color: str | None = None) -> None:
        if who:
            click.echo(click.style(who, fg=color, bold=True), err=True)
        click.echo(text if who else click.style(text, fg=color), err=True)
