"""`threadhouse mcp-server` while the API that it talks to is killed and started again."""

from __future__ import annotations

from pathlib import Path

import anyio
from anyio import to_thread
from mcp.types import ElicitRequestParams, ElicitResult

from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.mcp_client import connected, text_of


def test_a_turn_and_its_approval_continue_across_restarts_of_the_api(tmp_path: Path) -> None:
    """The API is gone while the model answers, and while the user of the client decides."""
    home, folder = tmp_path / "home", tmp_path / "folder"
    home.mkdir()
    folder.mkdir()

    async def answer(params: ElicitRequestParams) -> ElicitResult:
        await to_thread.run_sync(server.api[0].kill)
        tasks.start_soon(to_thread.run_sync, restart)
        return ElicitResult(action="accept")

    def restart() -> None:
        server.api[0].start()
        server.api[0].wait_until(server.http().is_ready)

    def restart_in_mid_answer() -> None:
        server.model.wait_reached("mcp-restart")
        server.api[0].kill()
        restart()
        server.model.release("mcp-restart")

    async def story() -> None:
        nonlocal tasks
        async with connected(server, answer) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, restart_in_mid_answer)
            prompt = "[[say Before.]] [[pause mcp-restart]] [[run touch made]] [[say After.]]"
            given = {"prompt": prompt, "cwd": str(folder), "approval-policy": "untrusted"}
            result = await client.call_tool("codex", given)
            assert text_of(result) == "After."

    tasks: anyio.abc.TaskGroup
    with Deployment(home, server=STEADY) as server, logs_shown_on_failure(server):
        anyio.run(story)

    assert (folder / "made").exists()
