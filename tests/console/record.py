"""Record what a client of a thread gets, and what thread/read answers afterwards, for the unit tests of the console.

    .venv/bin/python -m tests.console.record

Each recording of RECORDINGS is a file in api/console/src/state/recordings, as tests/support/streams.py describes them.
"""

from __future__ import annotations

import base64
import json
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from api.cli.client import Client
from tests.support.deployment import Deployment
from tests.support.images import png
from tests.support.wait import until

FOLDER = Path(__file__).parents[2] / "api" / "console" / "src" / "state" / "recordings"
PATCH = "*** Begin Patch\n*** Add File: notes.txt\n+one\n+two\n*** End Patch\n"


class Recorder:
    """One thread, and the events that its stream has brought so far."""

    def __init__(self, deployment: Deployment, **settings: Any) -> None:
        self.deployment = deployment
        self.http: Client = deployment.http()
        self.session = self.http.call("thread/start", settings)
        self.thread_id: str = self.session["thread"]["id"]
        self.events: list[dict[str, Any]] = []
        url = f"{deployment.urls[0]}/v2/thread/events?threadId={self.thread_id}"
        stream = urllib.request.urlopen(url)  # returns when the server has begun to answer: it follows the thread
        threading.Thread(target=self._follow, args=(stream,), daemon=True).start()

    def _follow(self, stream: Iterable[bytes]) -> None:
        for line in stream:
            if line.startswith(b"data: "):
                self.events.append(json.loads(line.removeprefix(b"data: ")))

    def start(self, text: str, **options: Any) -> str:
        params = {"threadId": self.thread_id, "input": [{"type": "text", "text": text}], **options}
        turn_id: str = self.http.call("turn/start", params)["turn"]["id"]
        return turn_id

    def wait_for(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        until(lambda: any(map(wanted, list(self.events))), seconds=60)
        return next(filter(wanted, self.events))

    def request(self) -> dict[str, Any]:
        return self.wait_for(lambda event: "id" in event)

    def answer(self, result: dict[str, Any]) -> None:
        self.http.call("serverRequest/respond", {"requestId": self.request()["id"], "result": result})

    def ended(self, turn_id: str) -> None:
        self.wait_for(lambda event: event["method"] == "turn/completed" and event["params"]["turn"]["id"] == turn_id)


def talk(one: Recorder) -> None:
    one.ended(one.start("[[reason First|Then]][[say n=20]][[run printf 'a\\nb\\n']][[say That was it.]]"))
    one.ended(one.start("and again"))


def approval(one: Recorder) -> None:
    turn = one.start("[[run touch made.txt]][[say Made.]]")
    one.answer({"decision": "accept"})
    one.ended(turn)


def declined(one: Recorder) -> None:
    turn = one.start("[[run touch made.txt]][[say Not made.]]")
    one.answer({"decision": "decline"})
    one.ended(turn)


def cancelled(one: Recorder) -> None:
    turn = one.start("[[run touch made.txt]][[say Never.]]")
    one.answer({"decision": "cancel"})
    one.ended(turn)


def patch(one: Recorder) -> None:
    turn = one.start(f"[[patch {PATCH}]][[say Patched.]]")
    one.answer({"decision": "accept"})
    one.ended(turn)


def plan(one: Recorder) -> None:
    steps = [{"step": "Read", "status": "completed"}, {"step": "Write", "status": "in_progress"}]
    one.ended(one.start(f"[[tool update_plan {json.dumps({'plan': steps})}]][[say Planned.]]"))


def image(one: Recorder) -> None:
    made = f"[[run printf %s {base64.b64encode(png(2, 2)).decode()} | base64 -d > dot.png]]"
    one.ended(one.start(f"{made}[[tool view_image {json.dumps({'path': 'dot.png'})}]][[say Seen.]]"))


def failed(one: Recorder) -> None:
    one.ended(one.start("[[say half of it]][[status 400 wrong]]"))


def retried(one: Recorder) -> None:
    one.ended(one.start("[[say half of it]][[drop times=1]][[say and the rest]]"))


def interrupted(one: Recorder) -> None:
    turn = one.start("[[reason Hm]][[say so far]][[pause interrupted]][[say never]]")
    one.wait_for(lambda event: event["method"] == "item/agentMessage/delta")
    one.http.call("turn/interrupt", {"threadId": one.thread_id, "turnId": turn})
    one.ended(turn)


def interrupted_command(one: Recorder) -> None:
    turn = one.start("[[run echo begun; sleep 600]]")
    one.wait_for(lambda event: event["method"] == "item/commandExecution/outputDelta")
    one.http.call("turn/interrupt", {"threadId": one.thread_id, "turnId": turn})
    one.ended(turn)


def steered(one: Recorder) -> None:
    turn = one.start("[[say so far]][[pause steered]][[say never]]")
    one.wait_for(lambda event: event["method"] == "item/agentMessage/delta")
    one.http.call(
        "turn/steer",
        {"threadId": one.thread_id, "expectedTurnId": turn, "input": [{"type": "text", "text": "[[say Turned.]]"}]},
    )
    one.ended(turn)


def compacted(one: Recorder) -> None:
    one.ended(one.start("something"))
    one.http.call("thread/compact/start", {"threadId": one.thread_id})
    one.wait_for(lambda event: event["method"] == "item/completed" and "Compaction" in event["params"]["item"]["type"])
    until(lambda: sum(event["method"] == "turn/completed" for event in list(one.events)) == 2, seconds=60)


ASKING = {"approvalPolicy": "untrusted"}
RECORDINGS: dict[str, tuple[Callable[[Recorder], None], dict[str, Any]]] = {
    "talk": (talk, {}),
    "approval": (approval, ASKING),
    "declined": (declined, ASKING),
    "cancelled": (cancelled, ASKING),
    "patch": (patch, ASKING),
    "plan": (plan, {}),
    "image": (image, {"sandbox": "workspace-write"}),
    "failed": (failed, {}),
    "retried": (retried, {}),
    "interrupted": (interrupted, {}),
    "interrupted-command": (interrupted_command, {"sandbox": "workspace-write"}),
    "steered": (steered, {}),
    "compacted": (compacted, {}),
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home, Deployment(Path(home)) as deployment:
        for name, (story, settings) in RECORDINGS.items():
            one = Recorder(deployment, **settings)
            story(one)
            end = one.http.call("thread/read", {"threadId": one.thread_id, "includeTurns": True})["thread"]
            text = json.dumps({"session": one.session, "events": one.events, "end": end, "requests": []}, indent=1)
            (FOLDER / f"{name}.json").write_text(text.replace(home, "/home/server") + "\n")
            print(name, len(one.events), [turn["status"] for turn in end["turns"]])


if __name__ == "__main__":
    main()
