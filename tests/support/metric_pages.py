"""The pages on which processes serve their metrics to Prometheus."""

from __future__ import annotations

import http.client
import random
from collections.abc import Iterable, Mapping
from urllib.request import ProxyHandler, build_opener

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from shared.telemetry.exposition import PORTS

FIRST_PORTS = range(10_000, 19_900, 100)  # below those of tests.support.deployment, which a page must not take
LOOK_SECONDS = 5  # for a page of which it is not known whose it is; the next look asks again
_direct = build_opener(ProxyHandler({}))


def choose_first_port() -> int:
    """Return a metrics_port for the processes of one test. Others may choose the same: each page takes a free port."""
    return random.choice(FIRST_PORTS)


def read(port: int, seconds: float = 60) -> dict[str, Metric]:
    """Return name → metric family, as a page on this port shows them. Errors: OSError, http.client.HTTPException."""
    with _direct.open(f"http://127.0.0.1:{port}/metrics", timeout=seconds) as page:
        return {family.name: family for family in text_string_to_metric_families(page.read().decode())}


def find_ports(first_port: int, environment: str) -> dict[int, str]:
    """Return port → service.name, of the pages of a deployment by now. environment: its `[otel] environment`."""
    found = {}
    for port in range(first_port, first_port + PORTS):
        try:
            page = read(port, LOOK_SECONDS)
        except (OSError, http.client.HTTPException, ValueError):
            continue  # nobody is there, another program, or a process that a test of somebody else has stopped
        if "target_info" in page:
            [about] = page["target_info"].samples
            if about.labels.get("env") == environment:
                found[port] = about.labels["service_name"]
    return found


def value(pages: Iterable[Mapping[str, Metric]], sample: str, **labels: str) -> float | None:
    """Return the sum of the samples with this name and these labels; None: there are none."""
    found = [
        one.value
        for page in pages
        for family in page.values()
        for one in family.samples
        if one.name == sample and labels.items() <= one.labels.items()
    ]
    return sum(found) if found else None
