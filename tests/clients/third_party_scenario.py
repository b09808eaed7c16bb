"""What a program does that uses codex-app-server-sdk; run by a Python that has it. Prints what came of it as JSON.

python third_party_scenario.py ws://HOST:PORT
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from codex_app_server_sdk import CodexClient, CodexTurnInactiveError, ThreadConfig, TurnOverrides

INACTIVE_SECONDS = 1.0  # of a model that stands still
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}


async def main(url: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    async with CodexClient.connect_websocket(url=url) as client:
        thread = await client.start_thread()
        result = await thread.chat_once("[[say Hello there.]]")
        told["run"] = [result.final_text, result.completion_source]
        told["second turn"] = (await thread.chat_once("And again?")).final_text

        steps = [step async for step in thread.chat('[[tool exec_command {"cmd": "echo 42", "login": false}]]')]
        told["steps"] = [step.item_type for step in steps]

        fork = await thread.fork()
        told["fork"] = [fork.thread_id != thread.thread_id, (await fork.chat_once("a branch")).final_text]

        continuation = await stalled(client, "[[say Left]][[pause steered]]")
        more = [{"type": "text", "text": "[[say Right.]]"}]
        await client.steer_turn(
            thread_id=continuation.thread_id, expected_turn_id=continuation.turn_id, input_items=more
        )
        told["steer"] = (await client.chat_once(continuation=continuation)).final_text

        cancelled = await client.cancel(await stalled(client, "[[say Begun.]][[pause interrupted]]"))
        told["interrupt"] = [cancelled.was_interrupted, cancelled.was_completed]

        schema = TurnOverrides(output_schema=SCHEMA)
        told["schema"] = json.loads((await thread.chat_once("forty-two", turn_overrides=schema)).final_text)

        told["declined"] = await ask_for_a_command(client)
        client.set_approval_handler(accept)
        told["accepted"] = await ask_for_a_command(client)

        await thread.set_name("the blue one")
        listed = (await client.list_threads(limit=100))["data"]
        told["list"] = [[row["name"], row["preview"]] for row in listed if row["id"] == thread.thread_id]
        await fork.archive()
        await fork.unarchive()
        told["models"] = bool((await client.list_models())["data"])
        thread_id = thread.thread_id

    async with CodexClient.connect_websocket(url=url) as client:
        thread = await client.resume_thread(thread_id)
        told["resume"] = (await thread.chat_once("[[say Still here.]]")).final_text
        told["turns"] = len((await thread.read())["thread"]["turns"])
        told["rollback"] = len((await thread.rollback(1))["thread"]["turns"])
    return told


async def stalled(client: Any, text: str) -> Any:
    """Begin a turn whose model stands still. Returns what names it."""
    thread = await client.start_thread()
    try:
        await thread.chat_once(text, inactivity_timeout=INACTIVE_SECONDS)
    except CodexTurnInactiveError as inactive:
        return inactive.continuation
    raise AssertionError("the turn ended")


async def accept(request: Any) -> str:
    return "accept"


async def ask_for_a_command(client: Any) -> list[str]:
    """The states of the commands of a turn that has to ask."""
    thread = await client.start_thread(ThreadConfig(approval_policy="untrusted", sandbox="workspace-write"))
    run = '[[tool exec_command {"cmd": "touch it", "login": false}]]'
    steps = [step async for step in thread.chat(run)]
    return [step.data["item"]["status"] for step in steps if step.item_type == "commandExecution"]


print(json.dumps(asyncio.run(main(sys.argv[1]))))
