"""Failures and cuts, which both APIs share; tested through the Responses API."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import orjson
import pytest

from shared.config import Provider
from shared.errors import ModelError
from tests.support.model_server import ModelServer
from tests.support.wait import until
from tests.workers.models.asking import prompt_of, provider_of, user
from workers.control.signal import Signal, StopReason
from workers.models import connections, responses_api
from workers.models.chunks import Chunk, Closed, TextDelta, TokenUsage
from workers.models.client import Stream
from workers.models.failures import HIGH_DEMAND, retry_after_seconds
from workers.models.http_model import HttpModel

DEADLINE_SECONDS = 5
BODY = {"model": "m", "stream": True, "input": [user("hi")]}


def ask(provider: Provider, text: str, signal: Signal | None = None) -> list[Chunk]:
    return list(HttpModel(provider, responses_api.API).stream(prompt_of(text), signal or Signal()))


def failure(provider: Provider, text: str) -> ModelError:
    with pytest.raises(ModelError) as caught:
        ask(provider, text)
    return caught.value


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta))


def test_request_is_repeated_after_a_500(server: ModelServer) -> None:
    chunks = ask(provider_of(server, request_max_retries=1), "[[status 500 times=1]][[say hello]]")

    assert text_of(chunks) == "hello"
    assert len(server.requests) == 2


FAILURES: list[tuple[str, dict[str, Any]]] = [
    ("[[status 500]]", {"info": "internalServerError", "http_status": None, "retryable": True, "text": HIGH_DEMAND}),
    (
        "[[status 502 oops]]",
        {
            "info": {"httpConnectionFailed": {"httpStatusCode": 502}},
            "http_status": 502,
            "retryable": True,
            "text": "unexpected status 502 Bad Gateway: oops",
            "url": "{base_url}/responses",
        },
    ),
    ("[[status 503 code=server_is_overloaded]]", {"info": "serverOverloaded", "http_status": 503, "retryable": True}),
    (
        "[[status 401 no key]]",
        {
            "info": {"httpConnectionFailed": {"httpStatusCode": 401}},
            "http_status": 401,
            "retryable": True,
            "text": "unexpected status 401 Unauthorized: no key",
            "url": "{base_url}/responses",
        },
    ),
    ("[[status 403]]", {"info": {"httpConnectionFailed": {"httpStatusCode": 403}}, "retryable": False}),
    ("[[status 404 code=model_not_found]]", {"info": "modelNotFound", "http_status": 404, "retryable": False}),
    (
        "[[status 400 bad]]",
        {
            "info": "other",
            "http_status": 400,
            "retryable": False,
            "text": '{{"error":{{"message":"bad","type":"invalid_request_error","param":null,"code":null}}}}',
        },
    ),
    ("[[status 400 code=context_length_exceeded]]", {"info": "contextWindowExceeded", "retryable": False}),
    ("[[status 400 This model's maximum context length is 8 tokens.]]", {"info": "contextWindowExceeded"}),
    (
        "[[status 429]]",
        {
            "info": {"responseTooManyFailedAttempts": {"httpStatusCode": 429}},
            "http_status": 429,
            "retryable": True,
            "retry_after_s": None,
            "text": "exceeded retry limit, last status: 429 Too Many Requests",
        },
    ),
    ("[[status 429 retry_after=7]]", {"http_status": 429, "retryable": True, "retry_after_s": 7}),
    ("[[status 429 Rate limit. Please try again in 1.2s.]]", {"retryable": True, "retry_after_s": 1.2}),
    ("[[status 413 too large]]", {"info": {"httpConnectionFailed": {"httpStatusCode": 413}}, "retryable": False}),
    (
        "[[status 429 type=usage_limit_reached resets_at=1893456000 retry_after=7]]",
        {
            "info": "usageLimitExceeded",
            "retryable": False,
            "text": "You’ve hit your usage limit at the model's provider. Try again at 2030-01-01 00:00 UTC.",
        },
    ),
    (
        "[[status 429 type=usage_limit_reached resets_at=1893456000000]]",
        {"info": "usageLimitExceeded", "text": "You’ve hit your usage limit at the model's provider."},
    ),
    (
        "[[say half a]][[drop]]",
        {"info": "other", "http_status": None, "retryable": True, "begins": "stream disconnected before completion: "},
    ),
    ("[[say a]][[close]]", {"info": "other", "retryable": True, "begins": "stream disconnected before completion: "}),
    ("[[garbage]]", {"info": "other", "retryable": True, "begins": "stream disconnected before completion: "}),
    ('[[raw {"type": "response.output_item.done"}]]', {"info": "other", "retryable": True}),
    ('[[raw {"type": "response.output_text.delta", "delta": {"text": "a"}}]]', {"info": "other", "retryable": True}),
    (f'[[raw {{"a": {"[" * 200}"\\u0000"{"]" * 200}}}]]', {"info": "other", "retryable": True}),
    (
        "[[fail server_error it broke]]",
        {"info": "other", "retryable": True, "text": "stream disconnected before completion: it broke"},
    ),
    ("[[fail context_length_exceeded too long]]", {"info": "contextWindowExceeded", "retryable": False}),
    ("[[fail insufficient_quota pay]]", {"info": "usageLimitExceeded", "retryable": False, "text": "pay"}),
    (
        "[[fail rate_limit_exceeded Please try again in 1.5s.]]",
        {"info": "rateLimitExceeded", "retryable": True, "retry_after_s": 1.5},
    ),
    ("[[fail server_is_overloaded busy]]", {"info": "serverOverloaded", "retryable": True}),
    ("[[fail invalid_prompt no]]", {"info": "badRequest", "retryable": False}),
    ("[[incomplete content_filter]]", {"info": "other", "retryable": False}),
]


@pytest.mark.parametrize(("script", "expected"), FAILURES, ids=[script for script, _ in FAILURES])
def test_failures_map_to_the_errors_of_the_protocol(server: ModelServer, script: str, expected: dict[str, Any]) -> None:
    error = failure(provider_of(server), script)

    text, begins, url = expected.pop("text", None), expected.pop("begins", None), expected.pop("url", None)
    assert {name: getattr(error, name) for name in expected} == expected
    assert text is None or str(error) == text.format(base_url=server.base_url)
    assert url is None or error.url == url.format(base_url=server.base_url)
    assert begins is None or str(error).startswith(begins)
    assert len(server.requests) == 1


def test_429_is_not_repeated_inside_the_request(server: ModelServer) -> None:
    failure(provider_of(server, request_max_retries=3), "[[status 429 retry_after=0]]")

    assert len(server.requests) == 1


def test_long_retry_after_is_left_to_the_turn(server: ModelServer) -> None:
    error = failure(provider_of(server, request_max_retries=3), "[[status 503 retry_after=3600]]")

    assert error.retry_after_s == 3600
    assert len(server.requests) == 1


def test_silent_stream_breaks_after_the_idle_timeout(server: ModelServer) -> None:
    provider = provider_of(server, stream_idle_timeout_ms=50)

    for script in ("[[say a]][[pause p]]", "[[hold p]]"):
        error = failure(provider, script)
        assert "idle timeout" in str(error)
        assert error.retryable


def test_refused_connection_is_retryable(server: ModelServer) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        error = failure(Provider("x", f"http://127.0.0.1:{nobody.getsockname()[1]}/v1", request_max_retries=1), "hi")

    assert error.info == {"httpConnectionFailed": {"httpStatusCode": None}}
    assert error.retryable
    assert "refused" in str(error)


def test_secrets_are_sent_and_never_quoted_in_errors(server: ModelServer) -> None:
    provider = provider_of(
        server, api_key="sk-secret", resolved_headers={"x-key": "header-secret"}, query_params={"k": "query-secret"}
    )

    errors = [
        failure(provider, "[[status 400 Wrong key sk-secret, header-secret]]"),
        failure(provider, "[[status 401 Wrong key sk-secret, header-secret]]"),
        failure(provider, "[[fail server_error Wrong key sk-secret, header-secret]]"),
        failure(Provider("x", server.base_url, api_key="sk-secret\n"), "hi"),
    ]

    sent = server.requests[0]
    assert sent.headers["authorization"] == "Bearer sk-secret"
    assert sent.headers["x-key"] == "header-secret"
    assert sent.path.endswith("?k=query-secret")
    for error in errors:
        assert "secret" not in f"{error} {error.details} {error.info}"


def test_proxies_are_not_used_for_loopback(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    assert text_of(ask(provider_of(server), "[[say direct]]")) == "direct"


def test_a_proxy_that_refuses_a_tunnel_is_a_failed_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy, ThreadPoolExecutor(1) as threads:

        def refuse() -> None:
            connection, _ = proxy.accept()
            with connection:
                asked.append(connection.recv(4096).partition(b"\r\n")[0])
                connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

        refused = threads.submit(refuse)
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        provider = Provider(name="p", base_url="https://models.example/v1", request_max_retries=0)
        error = failure(provider, "hi")
        refused.result(DEADLINE_SECONDS)

    assert asked[0].startswith(b"CONNECT models.example:443 ")
    assert "httpConnectionFailed" in error.info


def test_connection_is_reused_after_a_complete_answer(server: ModelServer) -> None:
    for _ in range(3):
        ask(provider_of(server), "[[say hi]]")

    assert server.connections == 1


def test_late_cut_does_not_reach_the_next_request_on_the_connection(server: ModelServer) -> None:
    first = Stream(provider_of(server), "/responses", {}, orjson.dumps(BODY))
    list(first.events())
    first.close()
    model = HttpModel(provider_of(server), responses_api.API)
    second = model.stream(prompt_of("[[say a]][[pause p]][[say b]]"), Signal())
    begun = [next(second), next(second)]

    first.cut()
    server.release("p")

    assert text_of([*begun, *second]) == "ab"
    assert server.connections == 1


@pytest.mark.parametrize("reason", list(StopReason))
@pytest.mark.parametrize("script", ["[[say so far]][[pause p]][[say never]]", "[[hold p]][[say never]]"])
def test_stop_request_cuts_the_stream_wherever_it_waits(server: ModelServer, script: str, reason: StopReason) -> None:
    signal = Signal()

    chunks = cut_when(lambda: server.wait_reached("p"), signal, reason, provider_of(server), script)

    assert "never" not in text_of(chunks)
    assert not any(isinstance(chunk, TokenUsage | Closed) for chunk in chunks)
    server.wait_hung_up("p")


def test_stop_request_ends_the_wait_before_a_repetition(server: ModelServer) -> None:
    def one_request_failed() -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not server.requests and time.monotonic() < deadline:
            threading.Event().wait(0.005)

    provider = provider_of(server, request_max_retries=5)

    assert cut_when(one_request_failed, Signal(), StopReason.INTERRUPT, provider, "[[status 503 retry_after=30]]") == []


def test_stop_request_ends_the_wait_for_a_connection() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        port = busy.getsockname()[1]
        fillers = []
        for _ in range(4):  # a full backlog: further connections are neither refused nor accepted
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        provider = Provider("x", f"http://127.0.0.1:{port}/v1", request_max_retries=0)

        def connecting() -> None:
            deadline = time.monotonic() + DEADLINE_SECONDS
            while time.monotonic() < deadline:
                if any(thread.name == "model-connect" for thread in threading.enumerate()):
                    return
                threading.Event().wait(0.005)

        chunks = cut_when(connecting, Signal(), StopReason.INTERRUPT, provider, "hi")

        for filler in fillers:
            filler.close()
    assert chunks == []


def test_stop_requested_before_the_call_sends_nothing(server: ModelServer) -> None:
    signal = Signal()
    signal.request(StopReason.STEER)

    assert ask(provider_of(server), "[[say hi]]", signal) == []
    assert server.requests == []


def test_reader_that_leaves_early_closes_the_connection(server: ModelServer) -> None:
    chunks = HttpModel(provider_of(server), responses_api.API).stream(prompt_of("[[say a]][[pause p]]"), Signal())

    next(chunks)
    server.wait_reached("p")
    chunks.close()  # type: ignore[attr-defined]

    server.wait_hung_up("p")


def cut_when(
    ready: Callable[[], None], signal: Signal, reason: StopReason, provider: Provider, script: str
) -> list[Chunk]:
    """Send a request, request a stop once ready() has returned; return the chunks until the stream ended."""
    chunks: list[Chunk] = []
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for chunk in HttpModel(provider, responses_api.API).stream(prompt_of(script), signal):
                chunks.append(chunk)
        except BaseException as error:  # noqa: BLE001 - raised in the test below
            failures.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    ready()
    signal.request(reason)
    reader.join(DEADLINE_SECONDS)
    assert not reader.is_alive()
    assert failures == []
    return chunks


@pytest.mark.parametrize(("header", "seconds"), [(None, None), ("7", 7), ("soon", None), ("", None), ("-3", None)])
def test_retry_after_is_seconds_or_nothing(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header) == seconds


def test_retry_after_may_be_a_date() -> None:
    seconds = retry_after_seconds(formatdate(time.time() + 100, usegmt=True))

    assert seconds is not None
    assert 90 < seconds <= 100


# -- many streams at once


@pytest.fixture
def pace(monkeypatch: pytest.MonkeyPatch) -> connections._Pace:
    """Return what counts the answers of one test alone: tests of lost workers leave theirs open in this process."""
    pace = connections._Pace()
    monkeypatch.setattr(connections, "_pace", pace)
    return pace


def test_many_streams_are_read_less_often_and_lose_no_text(
    server: ModelServer, pace: connections._Pace, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: Counter[int] = Counter()
    readinto = connections._PacedReader.readinto

    def counted(reader: connections._PacedReader, buffer: Any) -> int | None:
        reads[id(reader)] += 1
        return readinto(reader, buffer)

    monkeypatch.setattr(connections._PacedReader, "readinto", counted)
    monkeypatch.setattr(connections, "READS_PER_SECOND", 20)  # so that two streams are many
    monkeypatch.setattr(connections, "ACTIVE_SECONDS", 3600.0)
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(ask, provider_of(server), "[[say other]][[pause other]]")
        until(lambda: len(reads) == 1)
        chunks = ask(provider_of(server), "[[say n=200 delay_ms=2]]")
        server.release("other")
        other.result(DEADLINE_SECONDS)

    assert text_of(chunks) == "".join(f"w{number} " for number in range(200))
    assert list(reads.values())[1] < 100
    assert all(answer.closed for answer in pace.answers)


@pytest.mark.usefixtures("pace")
def test_the_first_text_of_one_among_many_streams_is_there_at_once(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "READS_PER_SECOND", 1e-9)
    monkeypatch.setattr(connections, "LONGEST_PAUSE_SECONDS", 3600.0)
    stream = HttpModel(provider_of(server), responses_api.API).stream(prompt_of("[[say Hello]][[pause on]]"), Signal())

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(lambda: next(chunk for chunk in stream if isinstance(chunk, TextDelta)))
        assert first.result(DEADLINE_SECONDS) == TextDelta("Hello")
    stream.close()  # type: ignore[attr-defined]


def test_the_end_of_an_answer_is_not_waited_for(server: ModelServer, pace: connections._Pace) -> None:
    provider = provider_of(server)
    stream = Stream(provider, "/responses", {}, orjson.dumps(BODY))
    events = stream.events()
    assert next(event for event in events if event["type"] == "response.completed")
    (reader,) = pace.answers
    reader.next_at = time.monotonic() + 3600

    with ThreadPoolExecutor(1) as threads:
        threads.submit(stream.close).result(DEADLINE_SECONDS)

    assert all(answer.closed for answer in pace.answers)
