"""A turn printed on stderr while it runs, for people."""

from __future__ import annotations

from typing import Any

import click

from api.cli.client import EventData
from api.cli.output import Output
from api.cli.visible import visible


class Progress:
    """Prints a turn for people: on a terminal text as it arrives, elsewhere whole items.

    A stream that was lost may have taken deltas and errors with it. What is missing is printed with the item or the
    turn that they belong to.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._streamed: dict[str, str] = {}  # ids of items → their text that was shown as it arrived
        self._error: str | None = None  # the last one that was shown

    def __call__(self, event: EventData) -> None:
        params: Any = event.get("params", {})
        match event.get("method"):
            case "thread/started":
                thread = params["thread"]
                self._print("thread", f"{thread['id']} in {thread['cwd']}, model {thread['model']}", "cyan")
            case "item/started" if params["item"]["type"] == "commandExecution":
                self._print("exec", visible(params["item"]["command"]), "magenta")
            case "item/started" if params["item"]["type"] == "agentMessage" and self._output.is_terminal:
                self._output.write(click.style("agent", fg="green", bold=True))
            case "item/agentMessage/delta" | "item/commandExecution/outputDelta" if self._output.is_terminal:
                self._streamed[params["itemId"]] = self._streamed.get(params["itemId"], "") + params["delta"]
                self._output.write(params["delta"], end="")
            case "item/completed":
                self._item_completed(params["item"])
            case "error":
                self._print_error(params["error"]["message"])
            case "turn/completed":
                self._turn_completed(params["turn"])

    def _item_completed(self, item: Any) -> None:
        match item["type"]:
            case "agentMessage" if item["id"] in self._streamed:
                self._print("", self._unseen(item["id"], item["text"]))  # it ends the streamed line, too
            case "agentMessage":
                self._print("agent", item["text"], "green")
            case "reasoning" if item["summary"]:
                self._print("thinking", "\n".join(item["summary"]), "blue")
            case "commandExecution":
                if output := self._unseen(item["id"], (item["aggregatedOutput"] or "").rstrip("\n")):
                    self._output.write(output)
                exit_code = "" if item["exitCode"] is None else f", exit code {item['exitCode']}"
                self._print("", f"{item['status']}{exit_code}", "red" if item["status"] != "completed" else "green")
            case "fileChange":
                paths = ", ".join(visible(change["path"], kept="") for change in item["changes"])
                self._print("patch", f"{item['status']}: {paths}", "magenta")

    def _unseen(self, item_id: str, text: str) -> str:
        """Return what was not shown of an item's text. The stored output of a command may be shorter than the shown."""
        shown = self._streamed.pop(item_id, "")
        if text.startswith(shown):
            return text[len(shown) :]
        return "" if len(shown) >= len(text) else f"\n{text}"

    def _turn_completed(self, turn: Any) -> None:
        if turn["status"] == "interrupted":
            self._print("turn", "interrupted", "red")
        elif turn.get("error") and turn["error"]["message"] != self._error:
            self._print_error(turn["error"]["message"])

    def _print_error(self, message: str) -> None:
        self._error = message
        self._print("error", message, "red")

    def _print(self, label: str, text: str, color: str | None = None) -> None:
        if label:
            self._output.write(click.style(label, fg=color, bold=True))
        self._output.write(text if label else click.style(text, fg=color))
