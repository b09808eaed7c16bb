"""Leave out items of a history that the model's provider refused, so that the thread can go on.

Owns what a refusal means and what takes an item's place. Clients see their items as before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shared.errors import ModelError
from shared.images import image_parts, is_image, left_out
from shared.protocol.model_items import text_message
from shared.store.items import Item

REASON = "the model's provider refused it"
_INDEX = re.compile(r"\binput\[(\d{1,6})\]")


def replacements(
    error: ModelError, rows: Sequence[Item], sent: Sequence[object], turn_id: str
) -> dict[str, list[Mapping[str, Any]]]:
    """Return row id → what the model sees of the row from now on; {} when the failure names nothing to leave out.

    The item that is named by its index goes, or its images if it has any; where only images are named, all of them go.
    What the turn itself added is kept unless it is an image: its user must learn that it was refused.
    sent: the input of the refused request; empty where indexes mean nothing
    """
    if error.http_status != 400 or error.info != "other":
        return {}
    text = str(error)
    index = _INDEX.search(text)
    named = sent[int(index[1])] if index and int(index[1]) < len(sent) else None
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if "encrypted_content" in text:
            items = [one for item in row.model_items for one in _without_encrypted(item)]
        elif named is not None:
            is_old = row.turn_id != turn_id
            items = [one for item in row.model_items for one in (_replaced(item, is_old) if item is named else [item])]
        elif "image" in text.lower():
            items = [_without_images(item) for item in row.model_items]
        else:
            return {}
        if items != row.model_items:
            found[row.id] = items
    return found


def _without_encrypted(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return nothing for encrypted reasoning, and a text for an encrypted summary."""
    if not item.get("encrypted_content"):
        return [item]
    lost = text_message("user", "[a summary of the conversation was left out: it cannot be decrypted any more]")
    return [] if item["type"] == "reasoning" else [lost]


def _replaced(item: Mapping[str, Any], is_old: bool) -> list[Mapping[str, Any]]:
    if image_parts(item):
        return [_without_images(item)]
    text = f"[a part of the history was left out: {REASON}]"
    match item["type"]:
        case "message" if is_old:
            kind = "output_text" if item["role"] == "assistant" else "input_text"
            return [{**item, "content": [{"type": kind, "text": text}]}]
        case "function_call_output" | "custom_tool_call_output" if is_old:
            return [{**item, "output": text}]
        case "reasoning" | "web_search_call":
            return []
    return [item]


def _without_images(item: Mapping[str, Any]) -> Mapping[str, Any]:
    text = {"type": "input_text", "text": left_out(REASON)}
    kept = {name: [text if is_image(part) else part for part in parts] for name, parts in _lists(item).items()}
    return {**item, **kept}


def _lists(item: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {name: item[name] for name in ("content", "output") if isinstance(item.get(name), list)}
