"""`web_search` and `tools.web_search` in the `config` of a request or in a user's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from marshmallow import Schema, fields, validate

from api.requests.params import load
from api.requests.schemas import variant
from shared.errors import InvalidParams, InvalidRequest
from shared.key_paths import value_of
from shared.protocol.settings import SettingsChanges
from shared.protocol.web_search import CONTEXT_SIZES, MODES, Mode, WebSearchSettings

KEY = "web_search"
TOOLS = "tools"
FEATURES = ("features.web_search_request", "features.web_search")  # Codex's older names for "live"
REPLACEMENT = (
    'Set `web_search` to `"live"`, `"indexed"`, `"cached"`, or `"disabled"` at the top level (or under a profile) in '
    "config.toml if you want to override it."
)
MAX_DOMAINS = 100
_SHORT = validate.Length(min=1, max=253)


class Location(Schema):
    """Shape: {"country", "region", "city", "timezone": str}"""

    country = fields.Str(validate=_SHORT)
    region = fields.Str(validate=_SHORT)
    city = fields.Str(validate=_SHORT)
    timezone = fields.Str(validate=_SHORT)


class WebSearchTool(Schema):
    """Shape: {"context_size", "allowed_domains": [str], "location"}"""

    context_size = fields.Str(validate=variant(*CONTEXT_SIZES))
    allowed_domains = fields.List(fields.Str(validate=_SHORT), validate=validate.Length(max=MAX_DOMAINS))
    location = fields.Nested(Location)


def web_search(values: Mapping[str, object]) -> WebSearchSettings | None:
    """Return what keys of `config` choose of web search; None without any.

    Errors: InvalidRequest (a mode that does not exist, as the original answers), InvalidParams
    """
    options, switch = _options(value_of(values, TOOLS))
    mode: Mode | None = None
    if KEY in values:
        mode = _mode(values[KEY])
    elif switch is False:
        mode = "disabled"
    elif any(values.get(key) is True for key in FEATURES):
        mode = "live"
    if mode is None and switch is None and not options:
        return None
    return cast(WebSearchSettings, {**({"mode": mode} if mode else {}), **options})


def deprecated(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return (summary, details) of each older name for `web_search` in `config`, in the original's words."""
    return [
        (f"`[features].{key.partition('.')[2]}` is deprecated because web search is enabled by default.", REPLACEMENT)
        for key in FEATURES
        if key in values
    ]


def merge(changed: SettingsChanges, below: Mapping[str, object]) -> None:
    """Add to the choices of a change those that the settings below it made and it does not."""
    if "webSearch" in changed:
        earlier = cast(WebSearchSettings, below.get("webSearch") or {})
        changed["webSearch"] = {**earlier, **changed["webSearch"]}


def _mode(value: object) -> Mode:
    if value in MODES:
        return cast(Mode, value)
    shown = f"`{value[:80]}`" if isinstance(value, str) else f"`{type(value).__name__}`"
    expected = ", ".join(f"`{mode}`" for mode in MODES)
    raise InvalidRequest(
        f"failed to load configuration: unknown variant {shown}, expected one of {expected}\nin `{KEY}`\n"
    )


def _options(tools: object) -> tuple[dict[str, Any], bool | None]:
    """Return the options that the table `tools` has of web search, and its old switch. Errors: InvalidParams."""
    given = tools.get(KEY) if isinstance(tools, dict) else None
    if given is None or isinstance(given, bool):
        return {}, given
    if not isinstance(given, dict):
        raise InvalidParams(f"config.{TOOLS}.{KEY}: expected true, false or a table")
    loaded = load(Schema.from_dict({KEY: fields.Nested(WebSearchTool)})(), {KEY: given})[KEY]
    names = {"context_size": "contextSize", "allowed_domains": "allowedDomains", "location": "location"}
    return {names[name]: found for name, found in loaded.items()}, None
