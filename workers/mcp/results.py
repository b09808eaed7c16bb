"""The result of a tool call: what the model reads of it, and what is stored of it and shown to clients."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from shared.protocol.model_items import ContentPart, image_part

MAX_MODEL_CHARACTERS = 100_000  # of text that the model reads of one result
MAX_STORED_BYTES = 256 * 1024  # of what a result's item keeps: texts, and images beside them
MAX_IMAGES_BYTES = 4 << 20  # of the images of a result, for the model and in its item
MAX_PARTS = 256
MAX_KIND = 80  # characters of the name of a part's type that a sentence says


def output_of(result: Mapping[str, Any], wall_seconds: float) -> str | list[ContentPart]:
    """Return what the model reads of a result (EXTENSIONS 4)."""
    if result.get("structuredContent") is not None:
        text = json.dumps(result["structuredContent"], separators=(",", ":"), ensure_ascii=False)
        return f"{_head(wall_seconds)}\n{cut(text)}"
    parts: list[ContentPart] = []
    room, images = MAX_MODEL_CHARACTERS, MAX_IMAGES_BYTES
    content = _content(result)
    for one in content[:MAX_PARTS]:
        if one.get("type") == "image":
            url = f"data:{one.get('mimeType')};base64,{one.get('data')}"
            if len(url) <= images:
                images -= len(url)
                parts.append(image_part(url))
                continue
        if one.get("type") in ("image", "audio"):
            one = {
                "type": "text",
                "text": f"[Threadhouse: {one['type']} ({str(one.get('mimeType'))[:MAX_KIND]}) is left out]",
            }
        text = one["text"] if one.get("type") == "text" and isinstance(one.get("text"), str) else _json(one)
        if room > 0:
            parts.append({"type": "input_text", "text": cut(text, room)})
        room -= len(text)
    if len(content) > MAX_PARTS:
        left_out = f"[Threadhouse: {len(content) - MAX_PARTS} of {len(content)} parts are left out]"
        parts.append({"type": "input_text", "text": left_out})
    return with_wall_time(parts, wall_seconds)


def with_wall_time(parts: Sequence[ContentPart] | str, wall_seconds: float) -> list[ContentPart]:
    """Return parts, or one text, behind the line that says how long the call took."""
    following: Sequence[ContentPart] = [{"type": "input_text", "text": parts}] if isinstance(parts, str) else parts
    return [{"type": "input_text", "text": _head(wall_seconds)}, *following]


def stored(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result as its item keeps it: unchanged, or with a sentence in place of what is too large."""
    whole = {
        "content": list(_content(result)),
        "structuredContent": result.get("structuredContent"),
        "_meta": result.get("_meta"),
    }
    if len(_json(whole)) <= MAX_STORED_BYTES:
        return whole
    room, images = MAX_STORED_BYTES // 2, MAX_IMAGES_BYTES
    kept: list[Mapping[str, Any]] = []
    for one in _content(result)[:MAX_PARTS]:
        size = len(_json(one))
        if one.get("type") == "image" and size <= images:
            images -= size
        elif one.get("type") == "text" and isinstance(one.get("text"), str):
            one = {**one, "text": cut(one["text"], max(0, room))}
            room -= size
        elif size <= room:
            room -= size
        else:
            kind = str(one.get("type"))[:MAX_KIND]
            one = {"type": "text", "text": f"[Threadhouse: {size} characters of type {kind!r} are left out]"}
        kept.append(one)
    others = {
        name: whole[name] if len(_json(whole[name])) <= room // 2 else None for name in whole if name != "content"
    }
    return {"content": kept, **others}


def _content(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = result.get("content")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _head(wall_seconds: float) -> str:
    return f"Wall time: {wall_seconds:.4f} seconds\nOutput:"


def cut(text: str, most: int = MAX_MODEL_CHARACTERS) -> str:
    """Return a text, or its beginning and a sentence about the rest."""
    if len(text) <= most:
        return text
    return (
        f"{text[:most]}\n[Threadhouse: {len(text) - most} of {len(text)} characters are left out; ask for less at once]"
    )


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
