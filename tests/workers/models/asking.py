"""Prompts for the model server, and providers that lead to it."""

from __future__ import annotations

from typing import Any

from shared.config import Provider
from tests.support.model_server import ModelServer
from workers.models.chunks import Prompt

EXEC_COMMAND = {"type": "function", "name": "exec_command", "parameters": {"type": "object", "properties": {}}}
APPLY_PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Changes files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: PATCH"},
}


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def prompt_of(*items: dict[str, Any] | str, **members: Any) -> Prompt:
    input_items = [user(item) if isinstance(item, str) else item for item in items]
    members = {"tools": [EXEC_COMMAND, APPLY_PATCH], "thread_id": "thread-1", "turn_id": "turn-1"} | members
    return Prompt(model="mock-model", input=input_items, **members)


def provider_of(server: ModelServer, **members: Any) -> Provider:
    return Provider("mock", server.base_url, **{"request_max_retries": 0} | members)
