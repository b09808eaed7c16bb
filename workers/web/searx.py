"""Searches in the operator's SearXNG, over its JSON API."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from shared import guarded_http
from shared.errors import AddressRefused, ToolError, Unavailable
from shared.guarded_http import Cutter
from shared.protocol import frames
from workers.web.access import WebAccess

MAX_ANSWER_BYTES = 4 << 20
MAX_TITLE_CHARACTERS = 200
MAX_SNIPPET_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class Found:
    """One result, whose texts were written by strangers."""

    title: str
    url: str
    snippet: str


def search(query: str, access: WebAccess, cutter: Cutter) -> list[Found]:
    """Return the results of a search, the best first. Errors: ToolError (the search engine gave none)."""
    endpoint = access.endpoint
    deadline = time.monotonic() + endpoint.timeout_seconds
    url = f"{endpoint.url}/search?{urlencode({'q': query, 'format': 'json'})}"
    try:
        response = guarded_http.send(
            "GET",
            url,
            {"Accept": "application/json", **endpoint.resolved_headers},
            deadline=deadline,
            max_bytes=MAX_ANSWER_BYTES,
            allowed=[urlsplit(url).hostname or ""],
            cutter=cutter,
        )
    except (AddressRefused, Unavailable, *guarded_http.FAILURES) as error:
        # Not the error's own text: http.client's quotes a header, which may be a secret.
        if cutter.is_cut:
            raise ToolError("the turn was stopped before the search engine answered") from None
        late = time.monotonic() >= deadline
        reason = f"no answer within {endpoint.timeout_seconds:g} s" if late else type(error).__name__
        raise ToolError(f"the server's search engine cannot be reached ({reason}); go on without it") from None
    if response.status != 200:
        hint = "; its settings.yml needs json among search.formats" if response.status == 403 else ""
        raise ToolError(f"the server's search engine answered {response.status}{hint}; go on without it")
    try:
        answer: Any = frames.decode(response.body)
        results = answer["results"]
        found = [Found(_title(one), one["url"], _snippet(one)) for one in results if isinstance(one.get("url"), str)]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ToolError("the server's search engine did not answer with results as JSON; go on without it") from None
    return [one for one in found if access.allows(one.url)][: endpoint.results]


def _title(result: Any) -> str:
    return _line(result.get("title"), MAX_TITLE_CHARACTERS)


def _snippet(result: Any) -> str:
    return _line(result.get("content"), MAX_SNIPPET_CHARACTERS)


def _line(text: object, most: int) -> str:
    """Return a text as one line of at most so many characters."""
    line = " ".join(text.split()) if isinstance(text, str) else ""
    return line if len(line) <= most else f"{line[: most - 1]}…"
