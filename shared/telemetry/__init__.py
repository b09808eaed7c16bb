"""Telemetry: log events, traces and metrics for an operator's collector (`[otel]`, docs/TELEMETRY.md).

This package alone imports OpenTelemetry, and only when something is exported: then `_sdk` is set. Otherwise, and
without the extra `otel`, each function below checks one variable and returns. May import shared.config, shared.protocol
and the leaves of shared.
"""

from __future__ import annotations

import atexit
import logging
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from shared.clock import now_ms
from shared.telemetry.facts import Attribute, FindSettings, TurnFacts

if TYPE_CHECKING:
    from shared.config import Config
    from shared.protocol.token_usage import TokenCounts
    from shared.protocol.turn import TurnOptions
    from shared.protocol.user_input import UserInput
    from shared.telemetry.sdk import Observe, Sdk

logger = logging.getLogger(__name__)

VERSION = version("threadhouse")
REDACTED = "[REDACTED]"
MAX_TEXT_CHARACTERS = 8192  # of a prompt, arguments or output in one event
SSE_EVENT = "codex.sse_event"  # one per delta: dropped first when the collector is slow
COMMON = {"app.version": VERSION, "terminal.type": "unknown"}  # attributes of all events; no client says its terminal
TRACE = "trace"  # member of a turn's options: W3C headers of the request that started it


_sdk: Sdk | None = None
_config: Config | None = None
_redact: Callable[[str], str] = str
_bound: ContextVar[MutableMapping[str, Attribute]] = ContextVar("telemetry")  # attributes of all events of this context
_ttft_ms: ContextVar[int | None] = ContextVar("ttft_ms", default=None)  # of the last stream read in this context


# -- a process


def start(config: Config, role: str) -> None:
    """Start exporting in this process; call it after every fork. role: api, worker or beat."""
    global _sdk, _config, _redact
    if _sdk is not None or not config.otel.exports:
        return
    started_at = time.monotonic()
    try:
        from shared.telemetry.sdk import Sdk

        sdk = Sdk(config.otel, role, VERSION, SSE_EVENT)
    except ModuleNotFoundError as error:
        logger.warning("[otel] has no effect: %s is not installed: pip install 'threadhouse[otel]'", error.name)
        return
    _config, _redact = config, _redaction(config)
    _sdk = sdk
    atexit.register(stop)
    attributes: Mapping[str, Attribute] = {
        "startup.phase": role,
        "startup.status": "ok",
        "duration_ms": _ms_since(started_at),
    }
    _emit(_sdk, "codex.startup_phase", attributes)


def _redaction(config: Config) -> Callable[[str], str]:
    from shared.config.feedback import redaction

    return redaction(config).text


def stop() -> None:
    """Export what is queued, for a few seconds at most, and stop. Harmless when repeated."""
    global _sdk
    sdk, _sdk = _sdk, None
    if sdk is not None:
        sdk.close()


def watch_celery(app: Any) -> None:
    """Make a span of each task that is sent and of each that runs, in one trace."""
    if _sdk is not None:
        _sdk.watch_celery(app)


def watch_flask(app: Any) -> None:
    """Make a span of each HTTP request to a method."""
    if _sdk is not None:
        _sdk.watch_flask(app)


def watch_engine(engine: Any) -> None:
    """Make a span of each transaction of the database that takes long."""
    if _sdk is not None:
        _sdk.watch_engine(engine)


def metrics_port() -> int | None:
    """Return the port on which this process serves its metrics; None: on none."""
    return None if _sdk is None else _sdk.metrics_port


def observe(name: str, measure: Observe) -> None:
    """Add a gauge of METRICS that is measured whenever metrics are exported.

    measure: () → pairs of a value and its attributes; it may raise
    """
    if _sdk is not None:
        _sdk.observe(name, measure)


# -- the context of events


@contextmanager
def bound(**attributes: Attribute) -> Iterator[None]:
    """Add the attributes to all log events that are emitted in this context, meanwhile."""
    token = _bound.set(attributes)
    try:
        yield
    finally:
        _bound.reset(token)


def describe_model(settings: Mapping[str, Any]) -> None:
    """Add the model of a thread's settings to all later log events of this context."""
    if _sdk is not None and (common := _bound.get(None)) is not None:
        common.update(_model_attributes(settings))


def _model_attributes(settings: Mapping[str, Any]) -> Mapping[str, Attribute]:
    assert _config is not None
    provider = _config.model_providers.get(settings["modelProvider"])
    auth_mode = "ApiKey" if provider and provider.api_key else None
    return {"model": settings["model"], "slug": settings["model"], "auth_mode": auth_mode}


def _account_id(owner: str) -> str | None:
    """Return `user.account_id`; None for the local user, who has no account."""
    from shared.store.users import LOCAL_USER

    return None if owner == LOCAL_USER else owner


# -- traces


def span(name: str, kind: str = "internal", **attributes: Attribute) -> AbstractContextManager[None]:
    """Return a span. kind: "internal", or "client" for a request to another server."""
    return nullcontext() if _sdk is None else _sdk.span(name, attributes, kind)


def request_span(method: str) -> AbstractContextManager[None]:
    """Return the span of a client's request."""
    return nullcontext() if _sdk is None else _sdk.span(method, {"rpc.method": method}, "server")


@contextmanager
def turn_span(turn_id: str, thread_id: str, owner: str, options: Mapping[str, Any], claim_no: int) -> Iterator[None]:
    """Make a span of a turn's attempt in a worker, in the trace of the request that started the turn.

    The wake-up that a worker claims with may have been sent for another turn; its trace becomes a link.
    """
    if _sdk is None:
        yield
        return
    common = {"conversation.id": thread_id, "user.account_id": _account_id(owner), "originator": options.get("client")}
    ids = {"conversation.id": thread_id, "turn.id": turn_id, "claim_no": claim_no}
    with bound(**common, **{"turn.id": turn_id}), _sdk.span("turn", ids, "internal", options.get(TRACE)):
        yield


def with_trace(options: TurnOptions) -> TurnOptions:
    """Add the current trace to the options of a new turn. Nothing is added when nothing is exported."""
    headers = trace_headers()
    if headers:
        options["trace"] = headers
    return options


def trace_headers() -> dict[str, str]:
    """Return the W3C headers of the current span, for a request to another server."""
    return {} if _sdk is None else _sdk.trace_headers()


# -- log events (with the original's names, PROTOCOL 14) and the metrics that go with them


def conversation_started(
    thread_id: str, owner: str, originator: str | None, settings: Mapping[str, Any], *, resumed: bool = False
) -> None:
    """Record that a client started or resumed a thread."""
    if _sdk is None:
        return
    provider = _config.model_providers.get(settings["modelProvider"]) if _config else None
    policy = settings["approvalPolicy"]
    of_operator = _config.mcp_servers if _config else {}
    attributes: Mapping[str, Attribute] = {
        "conversation.id": thread_id,
        "user.account_id": _account_id(owner),
        "originator": originator,
        **_model_attributes(settings),
        "provider_name": provider.name if provider else settings["modelProvider"],
        "reasoning_effort": settings.get("effort"),
        "reasoning_summary": settings.get("summary") or "auto",
        "approval_policy": policy if isinstance(policy, str) else "granular",
        "sandbox_policy": settings["sandboxPolicy"]["type"],
        "mcp_servers": ",".join(sorted({*of_operator, *(settings.get("mcpServers") or {})})),
    }
    _emit(_sdk, "codex.conversation_starts", attributes)
    if not resumed:
        _sdk.count("codex.thread.started", 1, _bounded(model=settings["model"]))


def user_prompt(user_input: Sequence[UserInput]) -> None:
    """Record the text that a user sent, without its images."""
    if _sdk is None or _config is None:
        return
    prompt = "\n".join(part["text"] for part in user_input if part["type"] == "text")
    shown = _text(prompt) if _config.otel.log_user_prompt else REDACTED
    _emit(_sdk, "codex.user_prompt", {"prompt_length": len(prompt), "prompt": shown})


def api_requested(
    endpoint: str, attempt: int, started_at: float, status: int | None, error: str | None, cf_ray: str | None = None
) -> None:
    """Record one request to a model's server.

    started_at: monotonic seconds
    attempt:    from 0
    status:     of the answer; None: there was none
    """
    if _sdk is None:
        return
    duration_ms = _ms_since(started_at)
    attributes: Mapping[str, Attribute] = {
        "endpoint": endpoint,
        "attempt": attempt,
        "duration_ms": duration_ms,
        "http.response.status_code": status,
        "error.message": None if error is None else _text(error),
        "cf_ray": cf_ray,
    }
    _emit(_sdk, "codex.api_request", attributes)
    labels = {"status": str(status or "none"), "success": _word(error is None)}
    _sdk.count("codex.api_request", 1, labels)
    _sdk.measure("codex.api_request.duration_ms", duration_ms, labels)


class StreamWatch:
    """Records the events of one model stream. Used in the thread that reads the stream."""

    def __init__(self, sdk: Sdk, started_at: float) -> None:
        self._sdk = sdk
        self._emit = sdk.repeated(SSE_EVENT, {**COMMON, **_bound.get({})}) if sdk.has_logs else None
        self._started_at = self._last_at = started_at
        self._counts: dict[tuple[str, bool], int] = {}

    def record(self, kind: str, error: str | None = None) -> None:
        """Record one event, or the error that took its place."""
        before, self._last_at = self._last_at, time.monotonic()
        if _ttft_ms.get() is None and (kind.endswith(".delta") or kind == "chat.completion.chunk"):
            _ttft_ms.set(_ms_since(self._started_at))
        if self._emit is not None:
            message = None if error is None else _text(error)
            duration_ms = round((self._last_at - before) * 1000)
            self._emit({"event.kind": kind, "duration_ms": duration_ms, "error.message": message})
        key = (kind, error is None)
        self._counts[key] = self._counts.get(key, 0) + 1

    def close(self) -> None:
        """Count the events at the end of the stream: there is one per delta, too many to count one by one."""
        for (kind, success), count in self._counts.items():
            self._sdk.count(SSE_EVENT, count, {"kind": kind, "success": _word(success)})


def watch_stream(started_at: float) -> StreamWatch | None:
    """Return a watch for a stream that was requested at started_at (monotonic seconds); None: nothing is exported."""
    if _sdk is None:
        return None
    _ttft_ms.set(None)
    return StreamWatch(_sdk, started_at)


def tokens_used(usage: TokenCounts, effort: str | None) -> None:
    """Record the tokens of one answer of the model. usage: `last` of the protocol's tokenUsage."""
    if _sdk is None:
        return
    counts = {
        "input_token_count": usage["inputTokens"],
        "output_token_count": usage["outputTokens"],
        "cached_token_count": usage["cachedInputTokens"],
        "cache_write_token_count": usage["cacheWriteInputTokens"],
        "reasoning_token_count": usage["reasoningOutputTokens"],
        "tool_token_count": usage["totalTokens"],
    }
    details = {"ttft_ms": _ttft_ms.get(), "model_reasoning_effort": effort}
    _emit(_sdk, SSE_EVENT, {"event.kind": "response.completed", **counts, **details})
    for name, count in counts.items():
        model = str(_bound.get({}).get("model") or "none")
        labels = _bounded(token_type=name.removesuffix("_token_count"), model=model)
        _sdk.count("codex.turn.token_usage", count, labels)


def first_delta(turn_created_at_ms: int) -> None:
    """Record the first text of a turn."""
    if _sdk is not None:
        duration_ms = max(0, now_ms() - turn_created_at_ms)
        _emit(_sdk, "codex.turn_ttft", {"duration_ms": duration_ms})
        _sdk.measure("codex.turn.ttft.duration_ms", duration_ms, {})


def tool_decided(tool: str, call_id: str, decision: str, source: str) -> None:
    """Record a decision about a tool call.

    decision: approved, approved_for_session, approved_with_amendment, denied or abort
    source:   config, user or auto_review
    """
    if _sdk is None:
        return
    attributes = {"tool_name": tool, "tool_namespace": "", "call_id": call_id, "decision": decision, "source": source}
    _emit(_sdk, "codex.tool_decision", attributes)
    if source == "user":
        _sdk.count("codex.approval.requested", 1, _bounded(tool=tool, approved=decision))


def tool_ended(
    tool: str,
    call_id: str,
    arguments: str,
    output: str | Sequence[Mapping[str, Any]],
    started_at: float,
    *,
    success: bool,
    namespace: str = "",
    mcp_server: tuple[str, str] = ("", ""),
) -> None:
    """Record a tool call with its output: text, or Responses-API parts.

    started_at: monotonic seconds
    namespace:  of the tool's name, as the model knows it
    mcp_server: whose tool it is, and "stdio" or scheme and host of its address
    """
    if _sdk is None or _config is None:
        return
    duration_ms = _ms_since(started_at)
    common = _bound.get({})
    common["tool_result_seq"] = number = int(common.get("tool_result_seq") or 0) + 1
    text = output if isinstance(output, str) else "\n".join(str(part.get("text", "")) for part in output)
    shown = _config.otel.log_tool_output
    attributes: Mapping[str, Attribute] = {
        "tool_name": tool,
        "tool_namespace": namespace,
        "call_id": call_id,
        "arguments": _text(arguments) if shown else REDACTED,
        "duration_ms": duration_ms,
        "success": _word(success),
        "output": _text(text) if shown else REDACTED,
        "output_truncated": len(text) > MAX_TEXT_CHARACTERS,
        "tool_result_seq": number,
        "mcp_server": mcp_server[0],
        "mcp_server_origin": mcp_server[1],
    }
    _emit(_sdk, "codex.tool_result", attributes)
    labels = _bounded(tool=tool, success=_word(success))
    _sdk.count("codex.tool.call", 1, labels)
    _sdk.measure("codex.tool.call.duration_ms", duration_ms, labels)


def sandbox_left(tool: str, call_id: str, outcome: str, started_at: float | None = None) -> None:
    """Record that a tool call asked to leave the sandbox.

    outcome:    denied, or escalated: the call ran outside
    started_at: when an escalated call started, in monotonic seconds
    """
    if _sdk is not None:
        took_ms = None if started_at is None else _ms_since(started_at)
        attributes: Mapping[str, Attribute] = {
            "tool_name": tool,
            "call_id": call_id,
            "outcome": outcome,
            "initial_duration_ms": 0,  # nothing ran inside the sandbox first
            "escalated_duration_ms": took_ms,
        }
        _emit(_sdk, "codex.sandbox_outcome", attributes)


def turn_claimed(turn: TurnFacts, find_settings: FindSettings, *, worker: str, recovered: bool, lost: int) -> None:
    """Record that a worker claimed a turn. recovered: it is not the turn's first attempt; lost: its lost attempts."""
    if _sdk is None:
        return
    waited_ms = max(0, now_ms() - turn.created_at_ms)
    queued_ms = None if recovered else waited_ms
    attributes: Mapping[str, Attribute] = {
        "worker": worker,
        "recovered": recovered,
        "lost": lost,
        "queued_ms": queued_ms,
    }
    _emit_turn("threadhouse.turn_claimed", "claimed", turn, find_settings, attributes)
    if not recovered:
        _sdk.measure("threadhouse.turn.queue_age_ms", waited_ms, {})


def turn_recovered(turn: TurnFacts, find_settings: FindSettings) -> None:
    """Record that a turn was queued again because its worker was lost."""
    _emit_turn("threadhouse.turn_recovered", "recovered", turn, find_settings)


def turn_parked(method: str) -> None:
    """Record that a turn waits for a person. method: of the server request."""
    if _sdk is not None:
        _emit(_sdk, "threadhouse.turn_parked", {"request.method": method})
        _sdk.count("threadhouse.turn.moves", 1, {"to": "parked"})


def turn_ended(
    turn: TurnFacts, find_settings: FindSettings, status: str, error: Mapping[str, Any] | None = None
) -> None:
    """Record the end of a turn. status: completed, interrupted or failed."""
    if _sdk is None:
        return
    duration_ms = max(0, now_ms() - turn.created_at_ms)
    message = _text(error["message"]) if error else None
    details: Mapping[str, Attribute] = {"status": status, "duration_ms": duration_ms, "error.message": message}
    _emit_turn("threadhouse.turn_ended", status, turn, find_settings, details)
    _sdk.count("codex.conversation.turn.count", 1, {"status": status})
    _sdk.measure("codex.turn.e2e_duration_ms", duration_ms, {"status": status})


def lease_lost(turn: TurnFacts, find_settings: FindSettings) -> None:
    """Record that this worker lost its claim on a turn."""
    _emit_turn("threadhouse.lease_lost", "lost", turn, find_settings)
    if _sdk is not None:
        _sdk.count("threadhouse.lease.lost", 1, {})


def request_handled(method: str, outcome: str, duration_ms: int) -> None:
    """Record a request to a method. method: one of the protocol; outcome: ok, refused or failed."""
    if _sdk is not None:
        _sdk.count("threadhouse.requests", 1, {"method": method, "outcome": outcome})
        _sdk.measure("threadhouse.requests.duration_ms", duration_ms, {"method": method})


def limit_refused(limit: str) -> None:
    """Record that a request was refused, or a turn ended, because of a limit. limit: its key in `[limits]`."""
    if _sdk is not None:
        _sdk.count("threadhouse.limit.refused", 1, {"limit": limit})


def relayed(event_id: str) -> None:
    """Record that an event reached an API process. event_id: begins with the time in ms when it was published."""
    if _sdk is not None:
        _sdk.measure("threadhouse.relay.lag_ms", max(0, now_ms() - int(event_id.partition("-")[0])), {})


def _emit_turn(
    name: str,
    move: str,
    turn: TurnFacts,
    find_settings: FindSettings,
    details: Mapping[str, Attribute] | None = None,
) -> None:
    if _sdk is None:
        return
    common: dict[str, Attribute] = {
        "conversation.id": turn.thread_id,
        "turn.id": turn.id,
        "user.account_id": _account_id(turn.owner),
        "originator": turn.options.get("client"),
    }
    if _sdk.has_logs and "model" not in _bound.get({}):
        common |= _found_model(find_settings)
    _emit(_sdk, name, {**common, **(details or {})})
    _sdk.count("threadhouse.turn.moves", 1, {"to": move})


def _found_model(find_settings: FindSettings) -> Mapping[str, Attribute]:
    try:
        settings = find_settings()
    except Exception as error:  # noqa: BLE001 - whatever keeps the settings away, the event is exported
        logger.warning("event without the model of its thread: %s", type(error).__name__)
        return {}
    return {} if settings is None else _model_attributes(settings)


# -- attributes as collectors get them


def _emit(sdk: Sdk, name: str, attributes: Mapping[str, Attribute]) -> None:
    if sdk.has_logs:
        sdk.emit(name, {**COMMON, **_bound.get({}), **attributes})


def _bounded(**labels: str) -> dict[str, str]:
    """Return labels of a metric without words that only a client knows (shared.telemetry.labels)."""
    from shared.telemetry.labels import bounded

    assert _config is not None
    return bounded(_config, labels)


def _text(text: str) -> str:
    """Return a redacted and shortened text. Redact first: a secret that is cut in two would not be recognized."""
    return _redact(text)[:MAX_TEXT_CHARACTERS]


def _word(value: bool) -> str:
    return "true" if value else "false"


def _ms_since(started_at: float) -> int:
    return max(0, round((time.monotonic() - started_at) * 1000))
