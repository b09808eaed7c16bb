"""The metrics of a whole deployment: real processes emit every name of the list, for Prometheus and over OTLP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from prometheus_client import Metric

from shared.queue import QUEUES
from shared.telemetry.metrics import METRICS
from tests.support import metric_pages
from tests.support.deployment import PATIENT, STEADY, Deployment, logs_shown_on_failure
from tests.support.otlp_sink import OtlpSink
from tests.support.protocol_client import RpcError
from tests.support.turns import command, is_delta, run_turn, start_thread, start_turn, wait_for_end
from tests.support.wait import until

APPROVAL = "item/commandExecution/requestApproval"
OFTEN = {"OTEL_METRIC_EXPORT_INTERVAL": "200"}
NAMED = re.compile(r"\b(?:threadhouse|codex)_[a-z0-9_]+")
DEPLOY = Path(__file__).parents[2] / "deploy"
Page = dict[str, Metric]


@pytest.fixture
def sink() -> Iterator[OtlpSink]:
    with OtlpSink() as sink:
        yield sink


class Pages:
    """The pages of a deployment's processes."""

    def __init__(self, first_port: int, home: Path, *services: str) -> None:
        """Wait until there is a page for each service: api, worker or beat."""
        wanted = sorted(f"threadhouse-{service}" for service in services)
        self._ports: dict[int, str] = {}
        until(lambda: sorted(self._find(first_port, home).values()) == wanted)

    def _find(self, first_port: int, home: Path) -> dict[int, str]:
        self._ports = metric_pages.find_ports(first_port, str(home))
        return self._ports

    def read(self) -> list[Page]:
        return [metric_pages.read(port) for port in self._ports]

    def value(self, sample: str, **labels: str) -> float:
        """Return the sum of all samples with this name and these labels."""
        return metric_pages.value(self.read(), sample, **labels) or 0

    def samples(self) -> set[str]:
        """Return the names of all samples but the description of the process."""
        families = [family for page in self.read() for family in page.values() if family.name != "target_info"]
        return {sample.name for family in families for sample in family.samples}


def named_by_rules_and_dashboards() -> set[str]:
    """Return the names of all series in the alerts and the dashboards."""
    files = [DEPLOY / "prometheus" / "alerts.yml", *(DEPLOY / "grafana" / "dashboards").glob("*.json")]
    return {name for file in files for name in NAMED.findall(file.read_text())}


def test_every_metric_is_emitted_to_prometheus_and_over_otlp_and_no_other(tmp_path: Path, sink: OtlpSink) -> None:
    def exporter(kind: str) -> dict[str, object]:
        return {"otlp-http": {"endpoint": f"{sink.http_url}/v1/{kind}"}}

    first_port = metric_pages.choose_first_port()
    settings = {
        "environment": str(tmp_path),
        "metrics_port": first_port,
        "metrics_exporter": exporter("metrics"),
        "trace_exporter": exporter("traces"),
    }
    with (
        Deployment(tmp_path, settings={"otel": settings}, environ=OFTEN, server=STEADY) as deployment,
        logs_shown_on_failure(deployment),
    ):
        deployment.add_beat()
        pages = Pages(first_port, tmp_path, "api", "worker", "beat")
        client = deployment.connect()
        thread_id = start_thread(client)
        run_turn(client, thread_id, f"[[say Hello.]]{command('true')}[[usage in=30 out=4 cached=2]]")
        turn_id = start_turn(client, thread_id, command("echo yes"), approvalPolicy="untrusted")
        approval = client.wait_for(lambda frame: frame.get("method") == APPROVAL)
        client.send({"id": approval["id"], "result": {"decision": "accept"}})
        assert wait_for_end(client, turn_id)["status"] == "completed"

        suffix = {"counter": "", "gauge": "", "histogram": "_count"}
        wanted = {metric.prometheus_name + suffix[metric.kind] for metric in METRICS.values()}
        until(lambda: {record.name for record in list(sink.exported["metrics"])} == METRICS.keys())
        emitted: set[str] = set()

        def is_complete() -> bool:  # the metrics of the deployment are missing while the database is slow
            emitted.update(pages.samples())
            return wanted <= emitted

        until(is_complete)
        assert {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in emitted} == {
            metric.prometheus_name for metric in METRICS.values()
        }
        assert named_by_rules_and_dashboards() <= emitted

        until(lambda: pages.value("codex_conversation_turn_count_total", status="completed") == 2)
        assert pages.value("threadhouse_turn_moves_total", to="claimed") == 3  # once more after the approval
        assert pages.value("threadhouse_turn_moves_total", to="parked") == 1
        until(lambda: pages.value("codex_tool_call_total", success="true") == 2)
        assert pages.value("codex_turn_token_usage_total", token_type="input", model="mock-model") >= 30
        assert pages.value("codex_approval_requested_total", approved="approved") == 1
        assert pages.value("threadhouse_requests_total", method="turn/start", outcome="ok") == 2
        until(lambda: pages.value("threadhouse_connections") == 1)


def test_the_scheduler_with_the_lease_measures_the_deployment(tmp_path: Path) -> None:
    first_port = metric_pages.choose_first_port()
    settings = {"environment": str(tmp_path), "metrics_port": first_port}
    with (
        Deployment(tmp_path, workers=0, settings={"otel": settings}, server=STEADY) as deployment,
        logs_shown_on_failure(deployment),
    ):
        deployment.add_beat()
        deployment.add_beat()
        both = Pages(first_port, tmp_path, "api", "beat", "beat")
        client = deployment.connect()
        turn_id = start_turn(client, start_thread(client), "[[say Hello.]]")

        until(lambda: both.value("threadhouse_turns_waiting", cause="noWorker") == 1)
        until(lambda: both.value("threadhouse_turns", state="queued") == 1)
        assert [both.value("threadhouse_workers_serving", queue=queue) for queue in QUEUES] == [0] * len(QUEUES)
        until(lambda: both.value("threadhouse_turns_waiting_age_ms", cause="noWorker") > 0)

        deployment.add_worker()
        assert wait_for_end(client, turn_id)["status"] == "completed"
        until(lambda: both.value("threadhouse_workers", state="ready") == 1)
        until(lambda: both.value("threadhouse_turns", state="queued") == 0)
        until(lambda: both.value("threadhouse_workers_serving", queue="turns") == 1)
        until(lambda: both.value("threadhouse_workers_slots") > 0)


def test_a_spent_budget_a_failed_turn_and_a_refused_request_are_counted(tmp_path: Path) -> None:
    first_port = metric_pages.choose_first_port()
    settings = {
        "otel": {"environment": str(tmp_path), "metrics_port": first_port},
        "limits": {"tokens_per_day": 10},
    }
    with (
        Deployment(tmp_path, settings=settings, server=STEADY) as deployment,
        logs_shown_on_failure(deployment),
    ):
        pages = Pages(first_port, tmp_path, "api", "worker")
        client = deployment.connect()

        assert run_turn(client, start_thread(client), "[[say Hello.]]")["status"] == "failed"
        with pytest.raises(RpcError):
            client.request("thread/read", {"threadId": "no-such-thread"})

        until(lambda: pages.value("codex_conversation_turn_count_total", status="failed") == 1)
        until(lambda: pages.value("threadhouse_limit_refused_total", limit="tokens_per_day") == 1)
        assert pages.value("threadhouse_limit_refused_total") == 1
        until(lambda: pages.value("threadhouse_requests_total", method="thread/read", outcome="refused") == 1)


def test_a_lost_lease_and_the_turn_that_another_worker_continues_are_counted(tmp_path: Path) -> None:
    first_port = metric_pages.choose_first_port()
    settings = {"environment": str(tmp_path), "metrics_port": first_port}
    with (
        Deployment(tmp_path, settings={"otel": settings}, server=PATIENT) as deployment,
        logs_shown_on_failure(deployment),
    ):
        client = deployment.connect()
        turn_id = start_turn(client, start_thread(client), "[[say Here I am.]][[pause on]]")
        client.wait_for(lambda frame: is_delta(frame))
        [first] = deployment.workers
        deployment.pause_worker(first)
        deployment.add_worker()
        deployment.model.release("on")
        assert wait_for_end(client, turn_id)["status"] == "completed"
        first.resume()

        pages = Pages(first_port, tmp_path, "api", "worker", "worker")
        until(lambda: pages.value("threadhouse_lease_lost_total") >= 1)
        until(lambda: pages.value("threadhouse_turn_moves_total", to="recovered") >= 1)
