"""What a client may name of a worker's files: as far as text can tell. The worker looks again, at what is there."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from marshmallow import ValidationError

from api.context import Context
from api.settings import allowed_modes, allowed_path
from shared.errors import InvalidRequest
from shared.protocol.base import camel_case


def check_paths(ctx: Context, params: dict[str, Any], *names: str) -> None:
    """Absolute, normalised, below what the user may name. Errors: InvalidParams."""
    for name in names:
        params[name] = allowed_path(ctx.config, ctx.user_id, params[name], camel_case(name))


def check_writable(ctx: Context) -> None:
    """A user whose every command may only read cannot write by another door. Errors: InvalidRequest."""
    if allowed_modes(ctx.config, ctx.user_id) == {"read-only"}:
        raise InvalidRequest("this server lets its clients write nothing (sandbox_modes)")


def is_base64(text: str) -> None:
    """For a field. Errors: ValidationError."""
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValidationError(f"requires valid base64: {error}") from None
