"""A program that uses codex-app-server-sdk, run by a Python that has the SDK. It prints its results as JSON.

python third_party_scenario.py ws://HOST:PORT
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from codex_app_server_sdk import CodexClient, CodexTurnInactiveError, ThreadConfig, TurnOverrides

INACTIVE_SECONDS = 1.0  # after which the SDK reports that the turn is inactive
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}


async def main(url: str) -> dict[str, Any]:
    results: dict[str, Any] = {}
    async with CodexClient.connect_websocket(url=url) as client:
        thread = await client.start_thread()
        result = await thread.chat_once("[[say Hello there.]]")
        results["run"] = [result.final_text, result.completion_source]
        results["second turn"] = (await thread.chat_once("And again?")).final_text

        steps = [step async for step in thread.chat('[[tool exec_command {"cmd": "echo 42", "login": false}]]')]
        results["steps"] = [step.item_type for step in steps]

        fork = await thread.fork()
        results["fork"] = [fork.thread_id != thread.thread_id, (await fork.chat_once("a branch")).final_text]

        continuation = await start_stalled_turn(client, "[[say Left]][[pause steered]]")
        more = [{"type": "text", "text": "[[say Right.]]"}]
        await client.steer_turn(
            thread_id=continuation.thread_id, expected_turn_id=continuation.turn_id, input_items=more
        )
        results["steer"] = (await client.chat_once(continuation=continuation)).final_text

        cancelled = await client.cancel(await start_stalled_turn(client, "[[say Begun.]][[pause interrupted]]"))
        results["interrupt"] = [cancelled.was_interrupted, cancelled.was_completed]

        schema = TurnOverrides(output_schema=SCHEMA)
        results["schema"] = json.loads((await thread.chat_once("forty-two", turn_overrides=schema)).final_text)

        results["declined"] = await run_command_that_needs_approval(client)
        client.set_approval_handler(accept)
        results["accepted"] = await run_command_that_needs_approval(client)

        await thread.set_name("the blue one")
        listed = (await client.list_threads(limit=100))["data"]
        results["list"] = [[row["name"], row["preview"]] for row in listed if row["id"] == thread.thread_id]
        await fork.archive()
        await fork.unarchive()
        results["models"] = bool((await client.list_models())["data"])
        thread_id = thread.thread_id

    async with CodexClient.connect_websocket(url=url) as client:
        thread = await client.resume_thread(thread_id)
        results["resume"] = (await thread.chat_once("[[say Still here.]]")).final_text
        results["turns"] = len((await thread.read())["thread"]["turns"])
        results["rollback"] = len((await thread.rollback(1))["thread"]["turns"])
    return results


async def start_stalled_turn(client: Any, text: str) -> Any:
    """Start a turn whose model stops answering; return the SDK's handle of the turn."""
    thread = await client.start_thread()
    try:
        await thread.chat_once(text, inactivity_timeout=INACTIVE_SECONDS)
    except CodexTurnInactiveError as inactive:
        return inactive.continuation
    raise AssertionError("the turn ended")


async def accept(request: Any) -> str:
    return "accept"


async def run_command_that_needs_approval(client: Any) -> list[str]:
    """Run a turn whose command needs an approval; return the states of its commands."""
    thread = await client.start_thread(ThreadConfig(approval_policy="untrusted", sandbox="workspace-write"))
    run = '[[tool exec_command {"cmd": "touch it", "login": false}]]'
    steps = [step async for step in thread.chat(run)]
    return [step.data["item"]["status"] for step in steps if step.item_type == "commandExecution"]


print(json.dumps(asyncio.run(main(sys.argv[1]))))
