"""GET /docs: the OpenAPI document as a page to read."""

from __future__ import annotations

import re

import pytest

from api.app import make_app
from api.documentation.page import MEANINGS, _inline, _split
from api.methods import TABLE
from api.methods.without_effect import EMPTY
from api.transport.error_codes import CODES
from tests.builders import Backend


@pytest.fixture
def text(backend: Backend) -> str:
    return make_app(backend.services).test_client().get("/docs").get_data(as_text=True)


def test_the_page_loads_nothing_from_elsewhere(text: str) -> None:
    assert not re.search(r"(src|href)=.?https?:|<script|@import", text)


def test_the_page_has_an_index_and_a_section_for_every_method_and_route(text: str) -> None:
    for name in [*TABLE, *EMPTY, "serverRequest/respond", "thread/events"]:
        assert f'<a href="#{name}">{name}</a>' in text
        assert f'<h3 id="{name}">' in text


def test_every_link_within_the_page_leads_somewhere(text: str) -> None:
    anchors = set(re.findall(r'id="([^"]+)"', text))

    assert set(re.findall(r'href="#([^"]+)"', text)) <= anchors


def test_requests_and_responses_are_labelled_and_shown(text: str) -> None:
    section = text.partition('<h3 id="turn/start">')[2].partition("<h3")[0]

    assert re.findall(r"<h4>([^<]+)</h4>", section) == [
        "Params",
        "Result",
        "Errors",
        "Example request",
        "Example response",
    ]
    assert "http://localhost/v2/turn/start" in section
    assert "&quot;itemsView&quot;: &quot;notLoaded&quot;" in section


def test_the_page_names_no_document_that_users_do_not_have(text: str) -> None:
    assert not re.search(r"PROTOCOL|DESIGN|\bapi\.|shared\.|ctx", text)


def test_every_error_is_explained() -> None:
    assert MEANINGS.keys() == {kind.__name__ for kind in CODES}


def test_markup_becomes_html_and_everything_else_is_escaped() -> None:
    assert _inline("use `a<b>` & [this](#x)") == 'use <code>a&lt;b&gt;</code> &amp; <a href="#x">this</a>'


def test_errors_are_split_outside_of_parentheses() -> None:
    assert _split("NotFound; Conflict (a turn; or two); Overloaded") == [
        "NotFound",
        "Conflict (a turn; or two)",
        "Overloaded",
    ]
