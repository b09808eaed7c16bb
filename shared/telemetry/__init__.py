"""Telemetry: log events, traces and metrics for an operator's collector (`[otel]`, docs/TELEMETRY.md).

This package is the only place that knows OpenTelemetry, and it loads it when something is exported, not before: then
`_sdk` is there. Until then, and without the extra `otel`, each function below is one look at a variable.
"""

from __future__ import annotations

import atexit
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from shared.clock import now_ms

if TYPE_CHECKING:
    from shared.config import Config
    from shared.telemetry.sdk import Observe, Sdk

logger = logging.getLogger(__name__)

VERSION = version("threadhouse")
REDACTED = "[REDACTED]"
MAX_TEXT_CHARACTERS = 8192  # of a prompt, arguments or output in one event
SSE_EVENT = "codex.sse_event"  # as many as there are deltas: when the collector is slow they are dropped first
TRACE = "trace"  # member of a turn's options: W3C headers of the request that began it

_sdk: Sdk | None = None
_config: Config | None = None
_redact: Callable[[str], str] = str
_bound: ContextVar[dict[str, Any]] = ContextVar("telemetry")  # common attributes of what runs here
_ttft_ms: ContextVar[int | None] = ContextVar("ttft_ms", default=None)  # of the last stream that was read here


# -- a process


def start(config: Config, role: str) -> None:
    """Begin, behind every fork. role: api, worker or beat."""
    global _sdk, _config, _redact
    if _sdk is not None or not config.otel.exports:
        return
    try:
        from shared.telemetry.sdk import Sdk
    except ModuleNotFoundError as error:
        logger.warning("[otel] has no effect: %s is not installed; pip install 'threadhouse[otel]'", error.name)
        return
    began_at = time.monotonic()
    _config, _redact = config, _redaction(config)
    _sdk = Sdk(config.otel, role, VERSION, SSE_EVENT)
    atexit.register(stop)
    started = {"startup.phase": role, "startup.status": "ok", "duration_ms": _ms_since(began_at)}
    _emit(_sdk, "codex.startup_phase", started)


def _redaction(config: Config) -> Callable[[str], str]:
    from shared.feedback import redaction

    return redaction(config).text


def stop() -> None:
    """Send what waits, for a few seconds at most. Harmless when repeated."""
    global _sdk
    sdk, _sdk = _sdk, None
    if sdk is not None:
        sdk.close()


def watch_celery(app: Any) -> None:
    """Messages and tasks become spans, and take the trace along."""
    if _sdk is not None:
        _sdk.watch_celery(app)


def watch_flask(app: Any) -> None:
    if _sdk is not None:
        _sdk.watch_flask(app)


def watch_engine(engine: Any) -> None:
    if _sdk is not None:
        _sdk.watch_engine(engine)


def observe(name: str, look: Observe) -> None:
    """A metric that is looked at whenever metrics are sent. look: () → (value, attributes)s; it may fail."""
    if _sdk is not None:
        _sdk.observe(name, look)


# -- what runs here


def is_on() -> bool:
    return _sdk is not None


@contextmanager
def bound(**attributes: Any) -> Iterator[None]:
    """Common attributes of all that is told inside, in this thread."""
    token = _bound.set(attributes)
    try:
        yield
    finally:
        _bound.reset(token)


def describe_model(settings: Mapping[str, Any]) -> None:
    """The model of a thread's settings, as common attributes from here on."""
    if _sdk is not None and (common := _bound.get(None)) is not None:
        common |= _of_model(settings)


def _of_model(settings: Mapping[str, Any]) -> dict[str, Any]:
    assert _config is not None
    provider = _config.model_providers.get(settings["modelProvider"])
    model = {"model": settings["model"], "slug": settings["model"]}
    return model | {"auth_mode": "ApiKey" if provider and provider.api_key else None}


def person(owner: str) -> str | None:
    """user.account_id. None: the local user, who has no account."""
    from shared.store.users import LOCAL_USER

    return None if owner == LOCAL_USER else owner


# -- traces


def span(name: str, kind: str = "internal", **attributes: Any) -> AbstractContextManager[None]:
    """kind: internal, or client for what another server does."""
    return nullcontext() if _sdk is None else _sdk.span(name, attributes, kind)


def request_span(method: str) -> AbstractContextManager[None]:
    """One request of a client."""
    return nullcontext() if _sdk is None else _sdk.span(method, {"rpc.method": method}, "server")


@contextmanager
def turn_span(turn_id: str, thread_id: str, owner: str, options: Mapping[str, Any], claim_no: int) -> Iterator[None]:
    """A turn's stay in a worker: part of the trace of the request that began it, whoever rang the bell."""
    if _sdk is None:
        yield
        return
    common = {"conversation.id": thread_id, "user.account_id": person(owner), "originator": options.get("client")}
    ids = {"conversation.id": thread_id, "turn.id": turn_id, "claim_no": claim_no}
    with bound(**common, **{"turn.id": turn_id}), _sdk.span("turn", ids, "internal", options.get(TRACE)):
        yield


def carried() -> dict[str, Any]:
    """For a turn's options: where it was asked for. Empty when nothing is exported."""
    headers = trace_headers()
    return {TRACE: headers} if headers else {}


def trace_headers() -> dict[str, str]:
    """W3C headers for a server that we ask."""
    return {} if _sdk is None else _sdk.carried()


# -- what happens: log events (the names of the original, PROTOCOL 14) and the metrics that go with them


def conversation_started(
    thread_id: str, owner: str, originator: str | None, settings: Mapping[str, Any], *, resumed: bool = False
) -> None:
    if _sdk is None:
        return
    provider = _config.model_providers.get(settings["modelProvider"]) if _config else None
    policy = settings["approvalPolicy"]
    attributes = {
        "conversation.id": thread_id,
        "user.account_id": person(owner),
        "originator": originator,
        **_of_model(settings),
        "provider_name": provider.name if provider else settings["modelProvider"],
        "reasoning_effort": settings.get("effort"),
        "reasoning_summary": settings.get("summary") or "auto",
        "approval_policy": policy if isinstance(policy, str) else "granular",
        "sandbox_policy": settings["sandboxPolicy"]["type"],
        "mcp_servers": "",
    }
    _emit(_sdk, "codex.conversation_starts", attributes)
    if not resumed:
        _sdk.count("codex.thread.started", 1, {"model": settings["model"]})


def user_prompt(user_input: Sequence[Mapping[str, Any]]) -> None:
    """What a user said; images are not told."""
    if _sdk is None or _config is None:
        return
    prompt = "\n".join(part["text"] for part in user_input if part["type"] == "text")
    shown = _text(prompt) if _config.otel.log_user_prompt else REDACTED
    _emit(_sdk, "codex.user_prompt", {"prompt_length": len(prompt), "prompt": shown})


def api_requested(
    endpoint: str, attempt: int, began_at: float, status: int | None, error: str | None, cf_ray: str | None = None
) -> None:
    """One request to a model's server. began_at: monotonic seconds; attempt: from 0; status None: no answer at all."""
    if _sdk is None:
        return
    duration_ms = _ms_since(began_at)
    attributes = {
        "endpoint": endpoint,
        "attempt": attempt,
        "duration_ms": duration_ms,
        "http.response.status_code": status,
        "error.message": None if error is None else _text(error),
        "cf_ray": cf_ray,
    }
    _emit(_sdk, "codex.api_request", attributes)
    told = {"status": str(status or "none"), "success": _word(error is None)}
    _sdk.count("codex.api_request", 1, told)
    _sdk.measure("codex.api_request.duration_ms", duration_ms, told)


class SseWatch:
    """Tells of the events of one stream, in the thread that reads it."""

    def __init__(self, sdk: Sdk, began_at: float) -> None:
        self._sdk = sdk
        self._began_at = self._before = began_at
        self._counts: dict[tuple[str, bool], int] = {}

    def saw(self, kind: str, error: str | None = None) -> None:
        before, self._before = self._before, time.monotonic()
        if _ttft_ms.get() is None and (kind.endswith(".delta") or kind == "chat.completion.chunk"):
            _ttft_ms.set(_ms_since(self._began_at))
        if self._sdk.has_logs:
            attributes: dict[str, Any] = {"event.kind": kind, "duration_ms": round((self._before - before) * 1000)}
            if error is not None:
                attributes["error.message"] = _text(error)
            _emit(self._sdk, SSE_EVENT, attributes)
        key = (kind, error is None)
        self._counts[key] = self._counts.get(key, 0) + 1

    def close(self) -> None:
        """Counted once a stream: there are as many events as deltas."""
        for (kind, success), count in self._counts.items():
            self._sdk.count(SSE_EVENT, count, {"kind": kind, "success": _word(success)})


def sse_watch(began_at: float) -> SseWatch | None:
    """Of a stream that was asked for then (monotonic seconds). None: nobody wants to know."""
    if _sdk is None:
        return None
    _ttft_ms.set(None)
    return SseWatch(_sdk, began_at)


def tokens_used(usage: Mapping[str, int], effort: str | None) -> None:
    """A whole answer of the model. usage: `last` of the protocol's tokenUsage."""
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
    told = {"ttft_ms": _ttft_ms.get(), "model_reasoning_effort": effort}
    _emit(_sdk, SSE_EVENT, {"event.kind": "response.completed", **counts, **told})
    for name, count in counts.items():
        _sdk.count("codex.turn.token_usage", count, {"token_type": name.removesuffix("_token_count")})


def first_delta(turn_created_at_ms: int) -> None:
    """The first text of a turn."""
    if _sdk is not None:
        duration_ms = max(0, now_ms() - turn_created_at_ms)
        _emit(_sdk, "codex.turn_ttft", {"duration_ms": duration_ms})
        _sdk.measure("codex.turn.ttft.duration_ms", duration_ms, {})


def tool_decided(tool: str, call_id: str, decision: str, source: str) -> None:
    """decision: approved, approved_for_session, approved_with_amendment, denied or abort; source: config or user."""
    if _sdk is None:
        return
    attributes = {"tool_name": tool, "tool_namespace": "", "call_id": call_id, "decision": decision, "source": source}
    _emit(_sdk, "codex.tool_decision", attributes)
    if source == "user":
        _sdk.count("codex.approval.requested", 1, {"tool": tool, "approved": decision})


def tool_ended(tool: str, call_id: str, arguments: str, output: Any, began_at: float, *, success: bool) -> None:
    """A call has its output: text, or Responses-API parts. began_at: monotonic seconds."""
    if _sdk is None or _config is None:
        return
    duration_ms = _ms_since(began_at)
    common = _bound.get({})
    common["tool_result_seq"] = number = common.get("tool_result_seq", 0) + 1
    text = output if isinstance(output, str) else "\n".join(str(part.get("text", "")) for part in output)
    shown = _config.otel.log_tool_output
    attributes = {
        "tool_name": tool,
        "tool_namespace": "",
        "call_id": call_id,
        "arguments": _text(arguments) if shown else REDACTED,
        "duration_ms": duration_ms,
        "success": _word(success),
        "output": _text(text) if shown else REDACTED,
        "output_truncated": len(text) > MAX_TEXT_CHARACTERS,
        "tool_result_seq": number,
        "mcp_server": "",
        "mcp_server_origin": "",
    }
    _emit(_sdk, "codex.tool_result", attributes)
    told = {"tool": tool, "success": _word(success)}
    _sdk.count("codex.tool.call", 1, told)
    _sdk.measure("codex.tool.call.duration_ms", duration_ms, told)


def sandbox_left(tool: str, call_id: str, outcome: str, began_at: float | None = None) -> None:
    """A call asked to leave the sandbox. outcome: denied, or escalated: then it began at these monotonic seconds."""
    if _sdk is not None:
        took_ms = None if began_at is None else _ms_since(began_at)
        attributes = {"tool_name": tool, "call_id": call_id, "outcome": outcome}
        durations = {"initial_duration_ms": 0, "escalated_duration_ms": took_ms}  # nothing ran inside before
        _emit(_sdk, "codex.sandbox_outcome", attributes | durations)


def turn_claimed(*, worker: str, recovered: bool, lost: int, created_at_ms: int) -> None:
    """recovered: another stay of the turn in a worker came before this one."""
    if _sdk is None:
        return
    waited_ms = max(0, now_ms() - created_at_ms)
    attributes: dict[str, Any] = {"worker": worker, "recovered": recovered, "lost": lost}
    _emit(_sdk, "threadhouse.turn_claimed", attributes | ({} if recovered else {"queued_ms": waited_ms}))
    _sdk.count("threadhouse.turn.moves", 1, {"to": "claimed"})
    if not recovered:
        _sdk.measure("threadhouse.turn.queue_age_ms", waited_ms, {})


def turn_recovered(turn_id: str, thread_id: str, owner: str) -> None:
    """A worker was lost; its turn is queued again."""
    _tell_turn("threadhouse.turn_recovered", "recovered", turn_id, thread_id, owner)


def turn_parked(method: str) -> None:
    """The turn waits for a person. method: of the question."""
    if _sdk is not None:
        _emit(_sdk, "threadhouse.turn_parked", {"request.method": method})
        _sdk.count("threadhouse.turn.moves", 1, {"to": "parked"})


def turn_ended(
    turn_id: str, thread_id: str, owner: str, status: str, created_at_ms: int, error: Mapping[str, Any] | None = None
) -> None:
    """status: completed, interrupted or failed."""
    if _sdk is None:
        return
    duration_ms = max(0, now_ms() - created_at_ms)
    told = {"status": status, "duration_ms": duration_ms, "error.message": _text(error["message"]) if error else None}
    _tell_turn("threadhouse.turn_ended", status, turn_id, thread_id, owner, **told)
    _sdk.count("codex.conversation.turn.count", 1, {"status": status})
    _sdk.measure("codex.turn.e2e_duration_ms", duration_ms, {"status": status})


def lease_lost(turn_id: str, thread_id: str, owner: str) -> None:
    """This worker may not write the turn any more."""
    _tell_turn("threadhouse.lease_lost", "lost", turn_id, thread_id, owner)
    if _sdk is not None:
        _sdk.count("threadhouse.lease.lost", 1, {})


def relayed(event_id: str) -> None:
    """An event reached an API process. event_id: its place in the log, which begins with the time in ms."""
    if _sdk is not None:
        _sdk.measure("threadhouse.relay.lag_ms", max(0, now_ms() - int(event_id.partition("-")[0])), {})


def _tell_turn(name: str, move: str, turn_id: str, thread_id: str, owner: str, **attributes: Any) -> None:
    if _sdk is not None:
        ids = {"conversation.id": thread_id, "turn.id": turn_id, "user.account_id": person(owner)}
        _emit(_sdk, name, ids | attributes)
        _sdk.count("threadhouse.turn.moves", 1, {"to": move})


# -- as it goes over the wire


def _emit(sdk: Sdk, name: str, attributes: Mapping[str, Any]) -> None:
    if not sdk.has_logs:
        return
    told = {
        "event.name": name,
        "event.timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "app.version": VERSION,
        "terminal.type": "unknown",  # of the client; the protocol does not tell it
        **_bound.get({}),
        **attributes,
    }
    sdk.emit(name, told)


def _text(text: str) -> str:
    """Redacted first: a secret that is cut in two would not be known for one."""
    return _redact(text)[:MAX_TEXT_CHARACTERS]


def _word(value: bool) -> str:
    return "true" if value else "false"


def _ms_since(began_at: float) -> int:
    return max(0, round((time.monotonic() - began_at) * 1000))
