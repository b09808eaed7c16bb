"""How a thread's model searches the web: by its provider's own tool, by the server's tool, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import redis

from shared.config import Config
from shared.protocol.dynamic_tools import functions
from shared.protocol.model_items import OfferedTool, SearchTool
from shared.protocol.settings import FULL_ACCESS_POLICY, ThreadSettings
from shared.protocol.web_search import DISABLED, WebSearchSettings
from workers.tools import web_search
from workers.web import access
from workers.web.access import WebAccess


def offered(config: Config, settings: ThreadSettings) -> Sequence[OfferedTool]:
    """Return the tool that the thread's model is offered, or nothing."""
    if searches_itself(config, settings):
        return [_provider_tool(config, settings)]
    found = web_access(config, settings, "", None)
    if found is None or web_search.NAME in functions(settings.get("dynamicTools") or ()):
        return []
    return [web_search.SPEC if found.opens_pages else web_search.SEARCH_ONLY]


def searches_itself(config: Config, settings: ThreadSettings) -> bool:
    """Return whether the thread's provider searches the web with a tool of its own."""
    provider = config.model_providers.get(settings["modelProvider"])
    return provider is not None and provider.web_search and _mode(config, settings) != DISABLED


def web_access(config: Config, settings: ThreadSettings, owner: str, commands: redis.Redis | None) -> WebAccess | None:
    """Return what the server's own tool may do for the thread; None: it is not offered. commands: counts searches"""
    endpoint = config.web_search_endpoint
    if endpoint is None or (mode := _mode(config, settings)) == DISABLED or searches_itself(config, settings):
        return None
    opens_pages = mode == "live" and endpoint.open_pages
    domains = _chosen(config, settings).get("allowedDomains") or ()
    if commands is None:
        return WebAccess(endpoint, opens_pages, domains)
    may_go_on = partial(access.count, commands, owner, endpoint.searches_per_minute)
    return WebAccess(endpoint, opens_pages, domains, may_go_on)


def _chosen(config: Config, settings: ThreadSettings) -> WebSearchSettings:
    """Return what the thread chose, or else the operator."""
    tool, own = config.tools.web_search, settings.get("webSearch") or {}
    return own if tool is None else {**tool.chosen, **own}


def _mode(config: Config, settings: ThreadSettings) -> str:
    """Return the mode of a thread. Without a choice an index answers, because fetching pages can leak data in URLs."""
    full_access = settings["sandboxPolicy"]["type"] == FULL_ACCESS_POLICY["type"]
    tool = config.tools.web_search
    default = DISABLED if tool is not None and not tool.is_on else "live" if full_access else "cached"
    return (settings.get("webSearch") or {}).get("mode") or config.web_search or default


def _provider_tool(config: Config, settings: ThreadSettings) -> SearchTool:
    """Return the Responses API's definition. Source: BEHAVIOUR-171 8"""
    mode, chosen = _mode(config, settings), _chosen(config, settings)
    tool: SearchTool = {"type": "web_search", "external_web_access": mode != "cached"}
    if mode == "indexed":
        tool["indexed_web_access"] = True
    if domains := chosen.get("allowedDomains"):
        tool["filters"] = {"allowed_domains": domains}
    if location := chosen.get("location"):
        tool["user_location"] = {"type": "approximate", **location}
    if size := chosen.get("contextSize"):
        tool["search_context_size"] = size
    tool["search_content_types"] = ["text", "image"]
    return tool
