"""Web search: its settings, and searches of a provider as items that clients see (PROTOCOL 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

DISABLED = "disabled"
MODES = (DISABLED, "cached", "indexed", "live")
CONTEXT_SIZES = ("low", "medium", "high")
CALL = "web_search_call"  # the type of a provider's own search in the history

Mode = Literal["disabled", "cached", "indexed", "live"]


class WebSearchSettings(TypedDict, total=False):
    """What a user or a thread chooses of web search; what is absent is as configured.

    mode:           "cached": an index answers, and no page is fetched; "live": pages are fetched
    contextSize:    how much a provider puts before the model: "low", "medium" or "high"
    allowedDomains: hosts that results and pages may come from, with their subdomains
    location:       where the user is: "country", "region", "city", "timezone"
    """

    mode: Mode
    contextSize: str
    allowedDomains: Sequence[str]
    location: Mapping[str, str]


class WebSearchAction(TypedDict):
    """What a search did.

    Shape: {"type": "search", "query": str|null, "queries": [str]|null} | {"type": "openPage", "url": str|null}
           | {"type": "findInPage", "url": str|null, "pattern": str|null} | {"type": "other"}
    """

    type: Literal["search", "openPage", "findInPage", "other"]
    query: NotRequired[str | None]
    queries: NotRequired[Sequence[str] | None]
    url: NotRequired[str | None]
    pattern: NotRequired[str | None]


class WebSearch(TypedDict):
    """A search of the web, a page that was opened, or a pattern that was looked for in it.

    query: what was asked for, in words for a person; "" while it is not known
    """

    type: Literal["webSearch"]
    query: str
    action: WebSearchAction
    results: None


def web_search(action: WebSearchAction) -> WebSearch:
    """Return the item of an action."""
    query: str | None = ""
    match action["type"]:
        case "search":
            query = action.get("query") or next(iter(action.get("queries") or ()), "")
        case "openPage":
            query = action.get("url")
        case "findInPage":
            query = f"'{action.get('pattern') or ''}' in {action.get('url') or ''}"
    return {"type": "webSearch", "query": query or "", "action": action, "results": None}


def of_provider(call: Mapping[str, Any]) -> WebSearch:
    """Return the item of a provider's `web_search_call`, which is untrusted JSON: an unknown action is "other"."""
    action = call.get("action")
    given: Mapping[str, Any] = action if isinstance(action, dict) else {}

    def text(name: str) -> str | None:
        value = given.get(name)
        return value if isinstance(value, str) else None

    match given.get("type"):
        case "search":
            queries = given.get("queries")
            is_list = isinstance(queries, list) and all(isinstance(query, str) for query in queries)
            return web_search({"type": "search", "query": text("query"), "queries": queries if is_list else None})
        case "open_page":
            return web_search({"type": "openPage", "url": text("url")})
        case "find_in_page":
            return web_search({"type": "findInPage", "url": text("url"), "pattern": text("pattern")})
        case _:
            return web_search({"type": "other"})
