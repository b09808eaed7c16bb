"""Telemetry against a collector of the tests: what a run exports, by which protocol, and what it never exports."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from tests.support.deployment import PATIENT, STEADY, Deployment, logs_shown_on_failure
from tests.support.model_server import CF_RAY
from tests.support.otlp_sink import Exported, OtlpSink, plain
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import command, is_delta, run_turn, start_thread, start_turn, wait_for_end
from tests.support.wait import until

SOON = {"OTEL_BLRP_SCHEDULE_DELAY": "50", "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "200"}
NEVER = dict.fromkeys(SOON, "3600000")  # only a flush sends anything
TOKEN = "collector-token-1"
CANARY = "sk-proj-" + "c4n4ry" * 8
APPROVAL = "item/commandExecution/requestApproval"
BLOCKER = """
import os, sys, traceback
class Absent:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in ("opentelemetry", "grpc", "requests", "prometheus_client") or name.startswith("google.protobuf"):
            # redis-py imports it on its own when it is installed.
            if not any("/redis/" in frame.filename for frame in traceback.extract_stack()):
                with open(os.environ["ASKED_FOR"], "a") as file:
                    print(name, file=file)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""
LATEST_EXIT_SECONDS = 30  # on a busy machine; a process gives its collector 3 s at its end
COMMON = {
    *("event.name", "event.timestamp", "conversation.id", "app.version", "terminal.type"),
    *("originator", "model", "slug"),
}


def check_common_fields(sink: OtlpSink, *names: str) -> None:
    """Check that each event about a thread, ours too, has the common fields, and that these events were exported."""
    records = [record for record in list(sink.exported["logs"]) if record.name != "codex.startup_phase"]
    assert {
        record.name: COMMON - record.attributes.keys() for record in records if COMMON - record.attributes.keys()
    } == {}
    assert {record.name for record in records} >= set(names)


def otel(sink: OtlpSink, protocol: str, **more: object) -> dict[str, object]:
    """Return an [otel] section that exports everything to the sink.

    protocol: "binary" or "json" (both over HTTP), or "grpc"
    """

    def exporter(kind: str) -> dict[str, object]:
        headers = {"x-token": "Bearer ${COLLECTOR_TOKEN}"}
        if protocol == "grpc":
            return {"otlp-grpc": {"endpoint": sink.grpc_url, "headers": headers}}
        return {"otlp-http": {"endpoint": f"{sink.http_url}/v1/{kind}", "protocol": protocol, "headers": headers}}

    exporters = {"exporter": "logs", "trace_exporter": "traces", "metrics_exporter": "metrics"}
    return {"environment": "staging", **{key: exporter(kind) for key, kind in exporters.items()}, **more}


def deployed(
    home: Path,
    sink: OtlpSink,
    protocol: str,
    environ: dict[str, str] = SOON,
    server: dict[str, object] = STEADY,
    **more: object,
) -> Deployment:
    environ = {**environ, "COLLECTOR_TOKEN": TOKEN, "API_KEY": "model-key-1"}
    return Deployment(home, settings={"otel": otel(sink, protocol, **more)}, environ=environ, server=server)


@pytest.fixture
def sink() -> Iterator[OtlpSink]:
    with OtlpSink() as sink:
        yield sink


def run_with_decisions(client: ProtocolClient, thread_id: str, script: str, *decisions: str) -> dict[str, Any]:
    """Run a turn and answer its approval requests with these decisions, in order. Return the completed turn."""
    turn_id = start_turn(client, thread_id, script, approvalPolicy="untrusted")
    asked: set[int] = set()
    for decision in decisions:
        approval = client.wait_for(
            lambda f: f.get("method") == APPROVAL and f["params"]["turnId"] == turn_id and f["id"] not in asked
        )
        asked.add(approval["id"])
        client.send({"id": approval["id"], "result": {"decision": decision}})
    return wait_for_end(client, turn_id)


@pytest.mark.parametrize("protocol", ["binary", "json", "grpc"])
def test_each_event_of_the_catalogue_reaches_the_collector(tmp_path: Path, sink: OtlpSink, protocol: str) -> None:
    with deployed(tmp_path, sink, protocol) as deployment, logs_shown_on_failure(deployment):
        client = deployment.connect()
        thread_id = start_thread(client)
        probe = command("echo probe")

        run_turn(client, thread_id, f"[[say Hello there.]]{probe}[[usage in=30 out=4 cached=2 reasoning=1]]")
        run_with_decisions(client, thread_id, probe.replace("probe", "yes"), "accept")
        run_with_decisions(client, thread_id, command("echo twice") + command("echo twice"), "acceptForSession")
        run_with_decisions(client, thread_id, probe.replace("probe", "no"), "decline")
        run_with_decisions(client, thread_id, probe.replace("probe", "stop"), "cancel")
        run_turn(client, thread_id, "[[status 500 times=1]][[say At last.]]")
        failed = run_turn(client, thread_id, "[[status 400 nonsense]]")
        assert failed["status"] == "failed"
        sink.wait_for("logs", "threadhouse.turn_ended", 7)
        sink.wait_for("logs", "codex.tool_result", 6)
        sink.wait_for("logs", "codex.conversation_starts")
        for metric in ("codex.turn.e2e_duration_ms", "threadhouse.connections", "threadhouse.relay.lag_ms"):
            sink.wait_for("metrics", metric)

    def exported(name: str, **attributes: str) -> list[dict[str, Any]]:
        return [record.attributes for record in sink.named("logs", name, conversation__id=thread_id, **attributes)]

    [started] = sink.named("logs", "codex.conversation_starts")
    assert started.service == "threadhouse-api"
    assert started.attributes["provider_name"] == "mock"
    assert (started.resource["env"], started.headers["x-token"]) == ("staging", f"Bearer {TOKEN}")
    for record in sink.exported["logs"]:
        assert record.content["severityNumber"] == 9
        assert record.content.get("eventName") == record.name
        assert record.content.get("body", {}) == {}  # the body is null
    check_common_fields(sink, *(f"threadhouse.turn_{move}" for move in ("claimed", "parked", "ended")))
    for record in sink.named("logs", "codex.api_request"):
        assert "turn.id" in record.attributes
        assert record.service == "threadhouse-worker"

    assert {record["prompt"] for record in exported("codex.user_prompt")} == {"[REDACTED]"}
    assert exported("codex.user_prompt")[-1]["prompt_length"] == str(len("[[status 400 nonsense]]"))
    requests = [
        (record["attempt"], record["http.response.status_code"], record.get("error.message"))
        for record in exported("codex.api_request")
    ]
    assert requests[-3:] == [("0", "500", "http 500"), ("1", "200", None), ("0", "400", "http 400")]
    assert all(int(record["duration_ms"]) >= 0 for record in exported("codex.api_request"))
    assert {record.get("cf_ray") for record in exported("codex.api_request", http__response__status_code="200")} == {
        CF_RAY
    }
    kinds = {record["event.kind"] for record in exported("codex.sse_event")}
    assert kinds >= {"response.created", "response.output_text.delta", "response.output_item.done"}
    [counted] = exported("codex.sse_event", input_token_count="30")
    assert counted["event.kind"] == "response.completed"
    assert (counted["output_token_count"], counted["cached_token_count"]) == ("4", "2")
    assert (counted["reasoning_token_count"], counted["tool_token_count"]) == ("1", "34")
    decided = [(record["decision"], record["source"]) for record in exported("codex.tool_decision")]
    assert decided == [
        ("approved", "config"),
        ("approved", "user"),
        ("approved_for_session", "user"),
        ("approved_for_session", "user"),
        ("denied", "user"),
        ("abort", "user"),
    ]
    results = exported("codex.tool_result")
    assert [record["success"] for record in results] == ["true"] * 4 + ["false"] * 2
    assert {record["tool_name"] for record in results} == {"exec_command"}
    assert all(record["call_id"] for record in results)
    assert json.loads(results[0]["arguments"])["cmd"] == "echo probe"
    assert "probe" in results[0]["output"]
    assert len(exported("codex.turn_ttft")) == 2  # the turns in which the model sent text before its tool call
    assert len(exported("threadhouse.turn_claimed")) == 7 + 4
    assert len(exported("threadhouse.turn_parked")) == 4
    assert [record["status"] for record in exported("threadhouse.turn_ended")] == [
        *["completed"] * 4,
        "interrupted",
        "completed",
        "failed",
    ]


def ancestry(sink: OtlpSink, span: Exported) -> list[str]:
    """Return the names of a span and of its ancestors that have arrived so far, innermost first."""
    spans = {each.content["spanId"]: each for each in list(sink.exported["traces"])}
    names = [span.name]
    while parent := spans.get(span.content.get("parentSpanId", "")):
        assert parent.content["traceId"] == span.content["traceId"]
        names.append(parent.name)
        span = parent
    return names


def test_one_trace_reaches_from_the_websocket_request_to_the_tool(tmp_path: Path, sink: OtlpSink) -> None:
    # With a rare sweep the only wake-up is that of the request. A turn that a wake-up of the sweep claims is in the
    # same trace, as a child of the request itself.
    no_sweep = STEADY | {"sweep_seconds": 600}
    with deployed(tmp_path, sink, "binary", server=no_sweep) as deployment, logs_shown_on_failure(deployment):
        client = deployment.connect()
        run_turn(client, start_thread(client), command("echo probe"))
        [tool] = sink.wait_for("traces", "tool")
        trace_id = tool.content["traceId"]
        whole = ["tool", "turn", "run/turn.run", "apply_async/turn.run", "turn/start"]

        until(lambda: ancestry(sink, tool) == whole)

        spans = {
            span.content["spanId"]: span for span in sink.exported["traces"] if span.content["traceId"] == trace_id
        }
        assert {span.service for span in spans.values()} == {"threadhouse-api", "threadhouse-worker"}
        names = {span.name for span in spans.values()}
        assert "model" in names
        [record] = sink.wait_for("logs", "codex.tool_result")
        assert record.content["traceId"] == trace_id

        theirs = "4bf92f3577b34da6a3ce929d0e0e4736"
        request = Request(f"{deployment.urls[0]}/v2/thread/start", b"{}", {"Content-Type": "application/json"})
        request.add_header("traceparent", f"00-{theirs}-00f067aa0ba902b7-01")
        urlopen(request).close()
        until(lambda: any(span.content["traceId"] == theirs for span in list(sink.exported["traces"])))
        asked = "[[tool exec_command " + json.dumps({"cmd": "true", "sandbox_permissions": "require_escalated"}) + "]]"
        run_turn(client, start_thread(client), asked)
        [left] = sink.wait_for("logs", "codex.sandbox_outcome")
        assert (left.attributes["outcome"], left.attributes["tool_name"]) == ("denied", "exec_command")


def test_exported_text_is_redacted(tmp_path: Path, sink: OtlpSink) -> None:
    with deployed(tmp_path, sink, "binary", log_user_prompt=True) as deployment, logs_shown_on_failure(deployment):
        client = deployment.connect()
        thread_id = start_thread(client)

        run_turn(client, thread_id, f"My key is {CANARY}. " + command(f"echo out {CANARY}"))

        [result] = sink.wait_for("logs", "codex.tool_result")
        [prompt] = sink.wait_for("logs", "codex.user_prompt")
        sink.wait_for("traces", "turn")
    assert prompt.attributes["prompt"].startswith("My key is [REDACTED]")
    assert result.attributes["output"].rstrip().endswith("out [REDACTED]")
    assert "[REDACTED]" in result.attributes["arguments"]
    assert not any(CANARY.encode() in body or TOKEN.encode() in body for body in sink.bodies)


def test_tool_output_is_not_exported_when_it_is_switched_off(tmp_path: Path, sink: OtlpSink) -> None:
    with deployed(tmp_path, sink, "binary", log_tool_output=False) as deployment, logs_shown_on_failure(deployment):
        client = deployment.connect()
        thread_id = start_thread(client)

        run_turn(client, thread_id, command("echo between us"))

        [result] = sink.wait_for("logs", "codex.tool_result")
    assert (result.attributes["output"], result.attributes["arguments"]) == ("[REDACTED]", "[REDACTED]")
    assert not any(b"between us" in body for body in sink.bodies)


def without_the_extra(folder: Path) -> dict[str, str]:
    """Return an environment in which no package of the extra can be imported; each attempt is recorded in a file."""
    (folder / "blocker").mkdir()
    (folder / "blocker" / "sitecustomize.py").write_text(BLOCKER)
    return {"PYTHONPATH": str(folder / "blocker"), "ASKED_FOR": str(folder / "asked_for")}


def test_without_an_exporter_nothing_is_loaded_and_no_connection_is_made(tmp_path: Path, sink: OtlpSink) -> None:
    settings = {"exporter": "none", "trace_exporter": "none", "metrics_exporter": "none"}
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.http_url, **without_the_extra(tmp_path)}
    with Deployment(tmp_path, settings={"otel": settings}, environ=environ, server=STEADY) as deployment:
        beat = deployment.add_beat()
        client = deployment.connect()
        run_turn(client, start_thread(client), command("echo quietly"))
        beat.wait_until(lambda: beat.has_logged("beat: Starting"))
    assert not (tmp_path / "asked_for").exists(), (tmp_path / "asked_for").read_text()
    assert sink.connections == 0


def test_without_the_extra_turns_run_and_the_log_names_what_to_install(tmp_path: Path, sink: OtlpSink) -> None:
    with deployed(tmp_path, sink, "binary", without_the_extra(tmp_path)) as deployment:
        client = deployment.connect()
        turn = run_turn(client, start_thread(client), command("echo quietly"))
        processes = (*deployment.api, *deployment.workers)
        hinted = [process.has_logged("pip install 'threadhouse[otel]'") for process in processes]
    assert turn["status"] == "completed"
    assert hinted == [True, True]
    assert (tmp_path / "asked_for").exists()
    assert sink.connections == 0


@pytest.mark.parametrize(
    ("protocol", "number"), [("binary", signal.SIGTERM), ("grpc", signal.SIGINT)], ids=["term", "int"]
)
def test_records_from_right_before_the_shutdown_are_exported(
    tmp_path: Path, sink: OtlpSink, protocol: str, number: signal.Signals
) -> None:
    with deployed(tmp_path, sink, protocol, NEVER) as deployment, logs_shown_on_failure(deployment):
        beat = deployment.add_beat()
        client = deployment.connect()
        thread_id = start_thread(client)
        start_turn(client, thread_id, "[[say Here I am.]][[pause for_ever]]")
        client.wait_for(lambda frame: is_delta(frame))
        beat.wait_until(lambda: beat.has_logged("beat: Starting"))
        assert sink.exported["logs"] == []

        for process in (*deployment.workers, *deployment.api, beat):
            process.signal(number)
        for process in (*deployment.workers, *deployment.api, beat):
            process.wait()

        assert sink.named("logs", "codex.conversation_starts", conversation__id=thread_id)
        assert sink.named("logs", "codex.turn_ttft", conversation__id=thread_id)
        assert sink.named("logs", "codex.sse_event", event__kind="response.output_text.delta")
        assert sink.named("traces", "turn/start")
        assert sink.named("traces", "turn")
        assert {record.service for record in sink.exported["logs"]} == {
            "threadhouse-api",
            "threadhouse-worker",
            "threadhouse-beat",
        }
        assert "threadhouse-worker" in {record.service for record in sink.exported["metrics"]}


def test_a_reload_of_an_api_process_exports_its_records(tmp_path: Path, sink: OtlpSink) -> None:
    with deployed(tmp_path, sink, "binary", NEVER) as deployment, logs_shown_on_failure(deployment):
        client = deployment.connect()
        thread_id = start_thread(client)

        deployment.api[0].signal(signal.SIGHUP)

        sink.wait_for("logs", "codex.conversation_starts", conversation__id=thread_id)
        deployment.api[0].wait_until(deployment.http().is_ready)


@pytest.mark.parametrize(("protocol", "mute"), [("binary", True), ("grpc", True), ("grpc", False)])
def test_a_dead_or_silent_collector_delays_neither_turns_nor_shutdown(
    tmp_path: Path, protocol: str, mute: bool
) -> None:
    with OtlpSink(mute=mute) as sink:
        deployment = deployed(tmp_path, sink, protocol)
        if not mute:
            sink.stop()
        with deployment, logs_shown_on_failure(deployment):
            client = deployment.connect()
            thread_id = start_thread(client)
            for _ in range(3):
                assert run_turn(client, thread_id, command("echo probe"))["status"] == "completed"
            processes = (*deployment.workers, *deployment.api, beat := deployment.add_beat())
            beat.wait_until(lambda: beat.has_logged("beat: Starting"))

            for process in processes:
                process.signal(signal.SIGTERM)
            for process in processes:
                assert process.wait(LATEST_EXIT_SECONDS) == 0
                assert process.has_logged("were dropped") or process is beat


def test_a_turn_recovered_by_another_worker_stays_in_its_trace(tmp_path: Path, sink: OtlpSink) -> None:
    with deployed(tmp_path, sink, "binary", server=PATIENT) as deployment, logs_shown_on_failure(deployment):
        client = deployment.connect()
        thread_id = start_thread(client)
        turn_id = start_turn(client, thread_id, "[[say Here I am.]][[pause on]]")
        client.wait_for(lambda frame: is_delta(frame))
        sink.wait_for("logs", "threadhouse.turn_claimed")
        [first] = deployment.workers
        deployment.pause_worker(first)

        deployment.add_worker()
        deployment.model.release("on")
        assert wait_for_end(client, turn_id)["status"] == "completed"
        first.resume()

        sink.wait_for("logs", "threadhouse.turn_recovered", turn__id=turn_id)
        sink.wait_for("logs", "threadhouse.lease_lost", turn__id=turn_id)
        claims = sink.wait_for("logs", "threadhouse.turn_claimed", 2)
        check_common_fields(sink, "threadhouse.turn_recovered", "threadhouse.lease_lost")
        assert [record.attributes["recovered"] for record in claims] == [False, True]
        spans = sink.wait_for("traces", "turn", 2)
        assert len({span.resource["service.instance.id"] for span in spans}) == 2
        [request] = sink.wait_for("traces", "turn/start")
        assert {span.content["traceId"] for span in spans} == {request.content["traceId"]}


def test_metrics_count_turns_and_tools_and_an_interrupted_call_has_a_result(tmp_path: Path, sink: OtlpSink) -> None:
    with deployed(tmp_path, sink, "binary") as deployment, logs_shown_on_failure(deployment):
        deployment.add_beat()
        client = deployment.connect()
        thread_id = start_thread(client)
        for _ in range(2):
            run_turn(client, thread_id, f"[[say Hello.]][[usage in=30 out=4]]{command('true')}")
        turn_id = start_turn(client, thread_id, command("echo began; sleep 60"))
        client.wait_for(lambda frame: is_delta(frame, "began"))

        until(lambda: value(sink, "threadhouse.turns", state="running") == 1)
        client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
        assert wait_for_end(client, turn_id)["status"] == "interrupted"

        until(lambda: value(sink, "codex.conversation.turn.count", status="interrupted") == 1)
        assert value(sink, "codex.conversation.turn.count", status="completed") == 2
        until(lambda: value(sink, "codex.tool.call", success="false") == 1)
        assert value(sink, "codex.tool.call", success="true") == 2
        assert value(sink, "threadhouse.connections") == 1
        [cut] = sink.wait_for("logs", "codex.tool_result", turn__id=turn_id)
        assert (cut.attributes["success"], cut.attributes["tool_name"]) == ("false", "exec_command")
        [counted, *_] = sink.wait_for("logs", "codex.sse_event", input_token_count="30")
        assert int(counted.attributes["ttft_ms"]) >= 0


def value(sink: OtlpSink, name: str, **attributes: str) -> int | None:
    """Return the value of the newest report of a metric with these attributes, or None."""
    reports = sink.named("metrics", name)
    points = (reports[-1].content.get("sum") or reports[-1].content.get("gauge"))["dataPoints"] if reports else []
    found = [point for point in points if attributes.items() <= plain(point.get("attributes", [])).items()]
    return sum(int(point.get("asInt", point.get("asDouble", 0))) for point in found) if found else None
