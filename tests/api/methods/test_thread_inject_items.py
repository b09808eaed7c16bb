"""thread/inject_items: items that only the model sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.config import Limits
from tests.api.methods.test_thread_fork import make_answered
from tests.builders import Backend, claim_turn, make_thread, make_turn
from tests.support.images import PNG, REFUSED_URLS, data_url
from tests.support.strange import one_member_changed

MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "by the way"}]}
CALL = {"type": "function_call", "call_id": "c", "name": "x", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "y"}
REASONING = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "why"}]}
FREEFORM = {"type": "custom_tool_call", "call_id": "c", "name": "x", "input": "text"}
FREEFORM_OUTPUT = {"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "y"}]}


def test_injected_items_are_shown_to_the_model_in_order_and_to_no_client(backend: Backend) -> None:
    thread = make_answered(backend, "one")
    client = backend.connect()
    before = client.call("thread/items/list", {"threadId": thread.id})

    client.call("thread/inject_items", {"threadId": thread.id, "items": [MESSAGE, CALL, OUTPUT]})

    assert client.call("thread/items/list", {"threadId": thread.id}) == before
    make_turn(backend.store, thread, "two")
    rows = backend.store.read_step(claim_turn(backend.store)).rows
    assert rows[-1].model_items == [MESSAGE, CALL, OUTPUT]


@pytest.mark.parametrize(
    "items",
    [[], [5], [{"type": "bogus"}], [{"type": "message", "role": "user"}], [CALL], [OUTPUT], [OUTPUT, CALL]],
)
def test_items_that_a_model_api_would_refuse_are_refused(backend: Backend, items: list[Any]) -> None:
    thread = make_answered(backend, "one")

    error = backend.connect().error("thread/inject_items", {"threadId": thread.id, "items": items})

    assert error["code"] == -32602


@pytest.mark.parametrize(
    "items",
    [[MESSAGE], [REASONING], [CALL, OUTPUT], [FREEFORM, FREEFORM_OUTPUT]],
    ids=["message", "reasoning", "call", "freeform"],
)
def test_items_with_a_missing_or_a_strange_member_are_refused(backend: Backend, items: list[Any]) -> None:
    thread = make_answered(backend, "one")
    client = backend.connect()

    taken = [
        changed
        for changed in one_member_changed(items, (None, 5, {}, ["text"]))
        if client.error("thread/inject_items", {"threadId": thread.id, "items": changed})["code"] != -32602
    ]

    assert taken == []
    client.call("thread/inject_items", {"threadId": thread.id, "items": items})


@pytest.mark.parametrize(
    ("url", "code"), [*((url, -32602) for url in REFUSED_URLS.values()), ("https://e.org/a", -32600)]
)
def test_images_that_a_model_api_would_refuse_are_refused(backend: Backend, url: str, code: int) -> None:
    thread = make_answered(backend, "one")
    client = backend.connect()
    good, bad = ({"type": "input_image", "image_url": one} for one in (data_url(PNG), url))
    message = {"type": "message", "role": "user", "content": [good, bad]}

    errors = [
        client.error("thread/inject_items", {"threadId": thread.id, "items": items})
        for items in ([message], [CALL, {**OUTPUT, "output": [good, bad]}])
    ]

    assert [error["code"] for error in errors] == [code, code]
    client.call("thread/inject_items", {"threadId": thread.id, "items": [{**message, "content": [good]}]})


def test_an_active_thread_and_a_thread_without_messages_are_refused(backend: Backend) -> None:
    active, silent = make_answered(backend, "one"), make_thread(backend.store, backend.config)
    make_turn(backend.store, active, "two")
    client = backend.connect()

    errors = [client.error("thread/inject_items", {"threadId": one.id, "items": [MESSAGE]}) for one in (active, silent)]

    assert [error["code"] for error in errors] == [-32600, -32600]


def test_a_thread_over_its_bytes_takes_no_more_items_and_other_threads_do(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(limits=Limits(history_bytes=10_000))
    full, other = make_answered(backend, "one"), make_answered(backend, "one")
    large = {**MESSAGE, "content": [{"type": "input_text", "text": "x" * 4_000}]}
    client = backend.connect()
    for _ in range(2):
        client.call("thread/inject_items", {"threadId": full.id, "items": [large]})

    error = client.error("thread/inject_items", {"threadId": full.id, "items": [large]})

    assert (error["code"], "thread/compact/start" in error["message"]) == (-32600, True)
    client.call("thread/inject_items", {"threadId": full.id, "items": [MESSAGE]})
    client.call("thread/inject_items", {"threadId": other.id, "items": [large]})
