"""Telemetry against a collector of the test's own: what a run tells, by which way, and what it never tells."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from tests.support.deployment import Deployment, shown_when_it_fails
from tests.support.model_server import CF_RAY
from tests.support.otlp_sink import OtlpSink, Told, plain
from tests.support.protocol_client import ProtocolClient
from tests.support.turns import command, is_delta, run_turn, start_thread, start_turn, wait_for_end
from tests.support.wait import until

SOON = {"OTEL_BLRP_SCHEDULE_DELAY": "50", "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "200"}
NEVER = dict.fromkeys(SOON, "60000")  # only a flush can send anything
TOKEN = "collector-token-1"
CANARY = "sk-proj-" + "c4n4ry" * 8
APPROVAL = "item/commandExecution/requestApproval"
BLOCKER = """
import os, sys, traceback
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("opentelemetry", "grpc", "requests") or name.startswith("google.protobuf"):
            if not any("/redis/" in frame.filename for frame in traceback.extract_stack()):  # redis-py looks for itself
                with open(os.environ["ASKED_FOR"], "a") as file:
                    print(name, file=file)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""
COMMON = {"event.name", "event.timestamp", "conversation.id", "app.version", "terminal.type"}


def otel(sink: OtlpSink, way: str, **more: object) -> dict[str, object]:
    """[otel] that tells the sink everything, by one of three ways."""

    def exporter(kind: str) -> dict[str, object]:
        headers = {"x-token": "Bearer ${COLLECTOR_TOKEN}"}
        if way == "grpc":
            return {"otlp-grpc": {"endpoint": sink.grpc_url, "headers": headers}}
        return {"otlp-http": {"endpoint": f"{sink.http_url}/v1/{kind}", "protocol": way, "headers": headers}}

    exporters = {"exporter": "logs", "trace_exporter": "traces", "metrics_exporter": "metrics"}
    return {"environment": "staging", **{key: exporter(kind) for key, kind in exporters.items()}, **more}


def deployed(home: Path, sink: OtlpSink, way: str, environ: dict[str, str] = SOON, **more: object) -> Deployment:
    environ = {**environ, "COLLECTOR_TOKEN": TOKEN, "API_KEY": "model-key-1"}
    return Deployment(home, settings={"otel": otel(sink, way, **more)}, environ=environ)


@pytest.fixture
def sink() -> Iterator[OtlpSink]:
    with OtlpSink() as sink:
        yield sink


def answered(client: ProtocolClient, thread_id: str, script: str, *decisions: str) -> dict[str, Any]:
    """A turn whose questions get these answers, one after the other."""
    turn_id = start_turn(client, thread_id, script, approvalPolicy="untrusted")
    asked: set[int] = set()
    for decision in decisions:
        question = client.wait_for(
            lambda f: f.get("method") == APPROVAL and f["params"]["turnId"] == turn_id and f["id"] not in asked
        )
        asked.add(question["id"])
        client.send({"id": question["id"], "result": {"decision": decision}})
    return wait_for_end(client, turn_id)


@pytest.mark.parametrize("way", ["binary", "json", "grpc"])
def test_each_event_of_the_catalogue_reaches_the_collector(tmp_path: Path, sink: OtlpSink, way: str) -> None:
    with deployed(tmp_path, sink, way) as deployment, shown_when_it_fails(deployment):
        client = deployment.connect()
        thread_id = start_thread(client)
        probe = command("echo probe")

        run_turn(client, thread_id, f"[[say Hello there.]]{probe}[[usage in=30 out=4 cached=2 reasoning=1]]")
        answered(client, thread_id, probe.replace("probe", "yes"), "accept")
        answered(client, thread_id, command("echo twice") + command("echo twice"), "acceptForSession")
        answered(client, thread_id, probe.replace("probe", "no"), "decline")
        answered(client, thread_id, probe.replace("probe", "stop"), "cancel")
        run_turn(client, thread_id, "[[status 500 times=1]][[say At last.]]")
        failed = run_turn(client, thread_id, "[[status 400 nonsense]]")
        assert failed["status"] == "failed"
        sink.wait_for("logs", "threadhouse.turn_ended", 7)
        sink.wait_for("logs", "codex.tool_result", 6)

    def told(name: str, **attributes: str) -> list[dict[str, Any]]:
        return [one.attributes for one in sink.named("logs", name, conversation__id=thread_id, **attributes)]

    [started] = sink.named("logs", "codex.conversation_starts")
    assert started.service == "threadhouse-api"
    assert started.attributes["provider_name"] == "mock"
    assert (started.resource["env"], started.headers["x-token"]) == ("staging", f"Bearer {TOKEN}")
    for one in sink.told["logs"]:
        assert one.what["severityNumber"] == 9
        assert one.what.get("eventName") == one.name
        assert one.what.get("body", {}) == {}  # null
        if one.name.startswith("codex.") and one.name != "codex.startup_phase":
            assert one.attributes.keys() >= COMMON
    for one in sink.named("logs", "codex.api_request"):
        assert one.attributes.keys() >= {"model", "slug", "originator", "turn.id"}
        assert one.service == "threadhouse-worker"

    assert {one["prompt"] for one in told("codex.user_prompt")} == {"[REDACTED]"}
    assert told("codex.user_prompt")[-1]["prompt_length"] == str(len("[[status 400 nonsense]]"))
    requests = [
        (one["attempt"], one["http.response.status_code"], one.get("error.message"))
        for one in told("codex.api_request")
    ]
    assert requests[-3:] == [("0", "500", "http 500"), ("1", "200", None), ("0", "400", "http 400")]
    assert all(int(one["duration_ms"]) >= 0 for one in told("codex.api_request"))
    assert {one.get("cf_ray") for one in told("codex.api_request", http__response__status_code="200")} == {CF_RAY}
    kinds = {one["event.kind"] for one in told("codex.sse_event")}
    assert kinds >= {"response.created", "response.output_text.delta", "response.output_item.done"}
    [counted] = told("codex.sse_event", input_token_count="30")
    assert counted["event.kind"] == "response.completed"
    assert (counted["output_token_count"], counted["cached_token_count"]) == ("4", "2")
    assert (counted["reasoning_token_count"], counted["tool_token_count"]) == ("1", "34")
    decided = [(one["decision"], one["source"]) for one in told("codex.tool_decision")]
    assert decided == [
        ("approved", "config"),
        ("approved", "user"),
        ("approved_for_session", "user"),
        ("approved_for_session", "user"),
        ("denied", "user"),
        ("abort", "user"),
    ]
    results = told("codex.tool_result")
    assert [one["success"] for one in results] == ["true"] * 4 + ["false"] * 2
    assert {one["tool_name"] for one in results} == {"exec_command"}
    assert all(one["call_id"] for one in results)
    assert json.loads(results[0]["arguments"])["cmd"] == "echo probe"
    assert "probe" in results[0]["output"]
    assert len(told("codex.turn_ttft")) == 2  # the turns in which the model said something before a tool ran it out
    assert len(told("threadhouse.turn_claimed")) == 7 + 4
    assert len(told("threadhouse.turn_parked")) == 4
    assert [one["status"] for one in told("threadhouse.turn_ended")] == [
        *["completed"] * 4,
        "interrupted",
        "completed",
        "failed",
    ]
    for metric in (
        "codex.turn.e2e_duration_ms",
        "threadhouse.connections",
        "threadhouse.relay.lag_ms",
    ):
        assert sink.named("metrics", metric)


def way_up(sink: OtlpSink, span: Told) -> list[str]:
    """The names of a span and of those that it is part of, as far as they have arrived."""
    spans = {one.what["spanId"]: one for one in list(sink.told["traces"])}
    names = [span.name]
    while parent := spans.get(span.what.get("parentSpanId", "")):
        assert parent.what["traceId"] == span.what["traceId"]
        names.append(parent.name)
        span = parent
    return names


def test_one_trace_goes_from_the_websocket_request_to_the_tool(tmp_path: Path, sink: OtlpSink) -> None:
    with deployed(tmp_path, sink, "binary") as deployment, shown_when_it_fails(deployment):
        client = deployment.connect()
        run_turn(client, start_thread(client), command("echo probe"))
        [tool] = sink.wait_for("traces", "tool")
        trace_id = tool.what["traceId"]
        whole = ["tool", "turn", "run/turn.run", "apply_async/turn.run", "turn/start"]

        until(lambda: way_up(sink, tool) == whole)

        spans = {one.what["spanId"]: one for one in sink.told["traces"] if one.what["traceId"] == trace_id}
        assert {one.service for one in spans.values()} == {"threadhouse-api", "threadhouse-worker"}
        names = {one.name for one in spans.values()}
        assert "model" in names
        assert any(name.startswith("INSERT") for name in names)  # the API's, over SQLAlchemy
        [record] = sink.wait_for("logs", "codex.tool_result")
        assert record.what["traceId"] == trace_id

        theirs = "4bf92f3577b34da6a3ce929d0e0e4736"
        request = Request(f"{deployment.urls[0]}/v2/thread/start", b"{}", {"Content-Type": "application/json"})
        request.add_header("traceparent", f"00-{theirs}-00f067aa0ba902b7-01")
        urlopen(request).close()
        until(lambda: any(span.what["traceId"] == theirs for span in list(sink.told["traces"])))
        asked = "[[tool exec_command " + json.dumps({"cmd": "true", "sandbox_permissions": "require_escalated"}) + "]]"
        run_turn(client, start_thread(client), asked)
        [left] = sink.wait_for("logs", "codex.sandbox_outcome")
        assert (left.attributes["outcome"], left.attributes["tool_name"]) == ("denied", "exec_command")


def test_text_is_told_only_where_it_may_be_and_never_with_a_secret(tmp_path: Path, sink: OtlpSink) -> None:
    with deployed(tmp_path, sink, "binary", log_user_prompt=True) as deployment, shown_when_it_fails(deployment):
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


def test_what_tools_do_is_not_told_when_that_is_switched_off(tmp_path: Path, sink: OtlpSink) -> None:
    with deployed(tmp_path, sink, "binary", log_tool_output=False) as deployment, shown_when_it_fails(deployment):
        client = deployment.connect()
        thread_id = start_thread(client)

        run_turn(client, thread_id, command("echo between us"))

        [result] = sink.wait_for("logs", "codex.tool_result")
    assert (result.attributes["output"], result.attributes["arguments"]) == ("[REDACTED]", "[REDACTED]")
    assert not any(b"between us" in body for body in sink.bodies)


def without_the_extra(folder: Path) -> dict[str, str]:
    """What a process is started with that finds no part of the extra, and notes in a file what it looked for."""
    (folder / "blocker").mkdir()
    (folder / "blocker" / "sitecustomize.py").write_text(BLOCKER)
    return {"PYTHONPATH": str(folder / "blocker"), "ASKED_FOR": str(folder / "asked_for")}


def test_without_an_exporter_nothing_is_loaded_and_no_connection_is_made(tmp_path: Path, sink: OtlpSink) -> None:
    told = {"exporter": "none", "trace_exporter": "none", "metrics_exporter": "none"}
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.http_url, **without_the_extra(tmp_path)}
    with Deployment(tmp_path, settings={"otel": told}, environ=environ) as deployment:
        beat = deployment.add_beat()
        client = deployment.connect()
        run_turn(client, start_thread(client), command("echo quietly"))
        beat.wait_until(lambda: beat.says("beat: Starting"))
    assert not (tmp_path / "asked_for").exists(), (tmp_path / "asked_for").read_text()
    assert sink.connections == 0


def test_without_the_extra_everything_else_works_and_the_log_says_what_to_install(
    tmp_path: Path, sink: OtlpSink
) -> None:
    with deployed(tmp_path, sink, "binary", without_the_extra(tmp_path)) as deployment:
        client = deployment.connect()
        turn = run_turn(client, start_thread(client), command("echo quietly"))
        told = [process.says("pip install 'threadhouse[otel]'") for process in (*deployment.api, *deployment.workers)]
    assert turn["status"] == "completed"
    assert told == [True, True]
    assert (tmp_path / "asked_for").exists()
    assert sink.connections == 0


@pytest.mark.parametrize(("way", "number"), [("binary", signal.SIGTERM), ("grpc", signal.SIGINT)], ids=["term", "int"])
def test_what_was_told_right_before_the_end_arrives(
    tmp_path: Path, sink: OtlpSink, way: str, number: signal.Signals
) -> None:
    with deployed(tmp_path, sink, way, NEVER) as deployment, shown_when_it_fails(deployment):
        beat = deployment.add_beat()
        client = deployment.connect()
        thread_id = start_thread(client)
        start_turn(client, thread_id, "[[say Here I am.]][[pause for_ever]]")
        client.wait_for(lambda frame: is_delta(frame))
        beat.wait_until(lambda: beat.says("beat: Starting"))
        assert sink.told["logs"] == []

        for process in (*deployment.workers, *deployment.api, beat):
            process.signal(number)
        for process in (*deployment.workers, *deployment.api, beat):
            process.wait(20)

        assert sink.named("logs", "codex.conversation_starts", conversation__id=thread_id)
        assert sink.named("logs", "codex.turn_ttft", conversation__id=thread_id)
        assert sink.named("logs", "codex.sse_event", event__kind="response.output_text.delta")
        assert sink.named("traces", "turn/start")
        assert sink.named("traces", "turn")
        assert {one.service for one in sink.told["logs"]} == {
            "threadhouse-api",
            "threadhouse-worker",
            "threadhouse-beat",
        }
        assert "threadhouse-worker" in {one.service for one in sink.told["metrics"]}


def test_what_an_api_process_told_arrives_when_it_is_reloaded(tmp_path: Path, sink: OtlpSink) -> None:
    with deployed(tmp_path, sink, "binary", NEVER) as deployment, shown_when_it_fails(deployment):
        client = deployment.connect()
        thread_id = start_thread(client)

        deployment.api[0].signal(signal.SIGHUP)

        sink.wait_for("logs", "codex.conversation_starts", conversation__id=thread_id)
        deployment.api[0].wait_until(deployment.http().is_ready)


@pytest.mark.parametrize(("way", "mute"), [("binary", True), ("grpc", True), ("grpc", False)])
def test_a_dead_or_silent_collector_holds_up_neither_turns_nor_the_end(tmp_path: Path, way: str, mute: bool) -> None:
    with OtlpSink(mute=mute) as sink:
        deployment = deployed(tmp_path, sink, way)
        if not mute:
            sink.stop()
        with deployment, shown_when_it_fails(deployment):
            client = deployment.connect()
            thread_id = start_thread(client)
            for _ in range(3):
                assert run_turn(client, thread_id, command("echo probe"))["status"] == "completed"
            processes = (*deployment.workers, *deployment.api, beat := deployment.add_beat())
            beat.wait_until(lambda: beat.says("beat: Starting"))

            for process in processes:
                process.signal(signal.SIGTERM)
            for process in processes:
                assert process.wait(10) == 0
                assert process.says("were dropped") or process is beat


def test_a_turn_that_another_worker_takes_over_stays_in_its_trace(tmp_path: Path, sink: OtlpSink) -> None:
    with deployed(tmp_path, sink, "binary") as deployment, shown_when_it_fails(deployment):
        client = deployment.connect()
        thread_id = start_thread(client)
        turn_id = start_turn(client, thread_id, "[[say Here I am.]][[pause on]]")
        client.wait_for(lambda frame: is_delta(frame))
        sink.wait_for("logs", "threadhouse.turn_claimed")
        [first] = deployment.workers
        first.pause()

        deployment.add_worker()
        deployment.model.release("on")
        assert wait_for_end(client, turn_id)["status"] == "completed"
        first.resume()

        sink.wait_for("logs", "threadhouse.turn_recovered", turn__id=turn_id)
        sink.wait_for("logs", "threadhouse.lease_lost", turn__id=turn_id)
        claims = sink.wait_for("logs", "threadhouse.turn_claimed", 2)
        assert [one.attributes["recovered"] for one in claims] == [False, True]
        stays = sink.wait_for("traces", "turn", 2)
        assert len({one.resource["service.instance.id"] for one in stays}) == 2
        [asked] = sink.wait_for("traces", "turn/start")
        assert {one.what["traceId"] for one in stays} == {asked.what["traceId"]}


def test_metrics_tell_what_was_and_calls_that_were_cut_have_their_results(tmp_path: Path, sink: OtlpSink) -> None:
    with deployed(tmp_path, sink, "binary") as deployment, shown_when_it_fails(deployment):
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
    """What the newest report of a metric says of these attributes."""
    reports = sink.named("metrics", name)
    points = (reports[-1].what.get("sum") or reports[-1].what.get("gauge"))["dataPoints"] if reports else []
    found = [one for one in points if attributes.items() <= plain(one.get("attributes", [])).items()]
    return sum(int(one.get("asInt", one.get("asDouble", 0))) for one in found) if found else None
