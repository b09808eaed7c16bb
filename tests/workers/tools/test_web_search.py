"""The tool web_search: what it searches and reads, and what it says when it cannot."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.config.web_search import WebSearchEndpoint
from shared.errors import ToolError
from tests.support.web import Web
from tests.workers.tools.context import make_call, make_context
from workers.tools import web_search
from workers.tools.base import ToolResult
from workers.web.access import WebAccess

HTML = """<html><head><title>T</title><script>evil()</script></head><body><h1>Weather</h1>
<p>It <a href="/more">rains</a>.</p><p hidden>secret</p><ul><li>Monday</li><li>Tuesday</li></ul></body></html>"""


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as web:
        yield web


def call(web: Web, cwd: Path, arguments: Any, *, domains: tuple[str, ...] = (), **settings: Any) -> ToolResult:
    endpoint = WebSearchEndpoint(web.url, **{"private_hosts": ("localhost",), **settings})
    ctx = replace(make_context(cwd), web=WebAccess(endpoint, opens_pages=True, allowed_domains=domains))
    prepared = web_search.prepare(make_call("web_search", json.dumps(arguments)), ctx)
    return web_search.run(prepared, ctx)


def body(result: ToolResult) -> str:
    """What stands between the two lines that mark it as untrusted."""
    assert isinstance(result.output, str)
    warning, marker, text, end = result.output.split("\n", 1)[0], *_parts(result.output)
    assert "Strangers wrote it" in warning
    assert marker == end
    assert marker in warning
    return text


def _parts(output: str) -> tuple[str, str, str]:
    lines = output.split("\n")
    return lines[1], "\n".join(lines[2:-1]), lines[-1]


def test_a_search_gives_the_first_results_as_untrusted_text(web: Web, tmp_path: Path) -> None:
    results = [{"title": f"Page {n}", "url": f"https://e.example/{n}", "content": "A\n  text "} for n in range(20)]
    web.results = {"results": results}

    shown = body(call(web, tmp_path, {"query": "läuft & 100%?"}, results=2))

    assert web.searches() == ["läuft & 100%?"]
    assert shown.split("\n") == [
        "1. Page 0",
        "   https://e.example/0",
        "   A text",
        "2. Page 1",
        "   https://e.example/1",
        "   A text",
    ]


def test_the_key_of_the_search_engine_is_sent_to_it_alone(web: Web, tmp_path: Path) -> None:
    url = web.page("/a", HTML)
    headers = {"resolved_headers": {"X-Key": "secret-key"}}

    call(web, tmp_path, {"query": "x"}, **headers)
    call(web, tmp_path, {"url": url}, **headers)

    assert [one.headers.get("x-key") for one in web.asked] == ["secret-key", None]


def test_results_and_pages_come_from_the_allowed_domains_alone(web: Web, tmp_path: Path) -> None:
    urls = ("https://docs.e.example/1", "https://e.example:8/2", "https://note.example/3", "javascript:alert(1)")
    web.results = {"results": [{"title": "T", "url": url, "content": ""} for url in urls]}
    page = web.redirect("/away", "http://note.example/")

    shown = body(call(web, tmp_path, {"query": "x"}, domains=("e.example",)))
    refused = call(web, tmp_path, {"url": page}, domains=("localhost",))

    assert [line.strip() for line in shown.split("\n") if "://" in line] == list(urls[:2])
    assert refused.failed
    assert "http://note.example/: expected an http:// or https:// URL of localhost" in str(refused.output)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((403, b""), "answered 403; its settings.yml needs json"),
        ((500, b"oh"), "answered 500"),
        ((200, b"<html>"), "did not answer with results as JSON"),
        ((200, b'{"results": [5]}'), "did not answer with results as JSON"),
        ((200, b"[" * 100_000), "did not answer with results as JSON"),
    ],
)
def test_a_broken_search_engine_is_a_failed_call(
    web: Web, tmp_path: Path, answer: tuple[int, bytes], expected: str
) -> None:
    web.results = answer

    with pytest.raises(ToolError, match=expected):
        call(web, tmp_path, {"query": "x"})


def test_a_search_engine_that_is_away_names_no_secret(web: Web, tmp_path: Path) -> None:
    with pytest.raises(ToolError) as failed:
        call(web, tmp_path, {"query": "x"}, resolved_headers={"X-Key": "secret\nkey"})

    assert "cannot be reached (ValueError)" in str(failed.value)


def test_a_page_is_read_as_markdown_with_whole_links(web: Web, tmp_path: Path) -> None:
    url = web.page("/a/b", HTML)

    result = call(web, tmp_path, {"url": f"{url}#top"})

    assert body(result) == (f"{url}\n\n# Weather\n\nIt [rains]({web.pages_url}/more).\n\n- Monday\n- Tuesday\n")
    assert result.item is not None
    assert result.item["action"] == {"type": "openPage", "url": f"{url}#top"}


@pytest.mark.parametrize(
    ("content", "headers", "expected"),
    [
        ("grün".encode("latin-1"), {"content_type": "text/plain; charset=ISO-8859-1"}, "grün"),
        ('<meta charset="windows-1252"><p>gr\xfcn'.encode("latin-1"), {"content_type": "text/html"}, "grün"),
        (b'{"a": 1}', {"content_type": "application/json"}, '{"a": 1}'),
        (gzip.compress(b"packed", mtime=0), {"content_type": "text/plain", "content_encoding": "gzip"}, "packed"),
        (b"\xff\x00x", {"content_type": "text/plain; charset=punycode"}, "\ufffd\ufffdx"),
        (b"x", {"content_type": "text/plain; charset=windows-1259"}, "x"),
    ],
)
def test_pages_of_other_kinds_are_read(
    web: Web, tmp_path: Path, content: bytes, headers: dict[str, str], expected: str
) -> None:
    url = web.page("/a", content, **headers)

    assert body(call(web, tmp_path, {"url": url})).split("\n\n", 1)[1].strip() == expected


def test_a_pattern_gives_the_lines_around_it(web: Web, tmp_path: Path) -> None:
    url = web.page("/a", "\n".join(f"line {n}" for n in range(1000)), content_type="text/plain")

    found = call(web, tmp_path, {"url": url, "pattern": "LINE 500"})
    missing = call(web, tmp_path, {"url": url, "pattern": "no such"})

    assert body(found) == f"{url}\n\n499: line 498\n500: line 499\n501: line 500\n502: line 501\n503: line 502"
    assert "is not on the page" in body(missing)
    assert found.item is not None
    assert found.item["query"] == f"'LINE 500' in {url}"


def test_redirects_are_followed_and_a_long_page_is_cut(web: Web, tmp_path: Path) -> None:
    target = web.page("/long", "x" * 10_000, content_type="text/plain")
    url = web.redirect("/moved", "/long")

    shown = body(call(web, tmp_path, {"url": url}, page_characters=100))

    assert shown == f"{target}\n\n{'x' * 100}\n[the page goes on; only its beginning was read]"


@pytest.mark.parametrize(
    "arguments",
    [5, {}, {"query": ""}, {"query": 5}, {"query": "x", "url": "y"}, {"pattern": "x"}, {"query": "x" * 1001}],
)
def test_wrong_arguments_are_explained(web: Web, tmp_path: Path, arguments: Any) -> None:
    with pytest.raises(ToolError, match="web_search: "):
        call(web, tmp_path, arguments)
