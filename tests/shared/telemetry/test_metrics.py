"""The list of metrics and its page."""

from __future__ import annotations

from pathlib import Path

from shared.telemetry.metrics import METRICS, document

PAGE = Path(__file__).parents[3] / "docs" / "METRICS.md"


def test_the_page_lists_every_metric() -> None:
    assert PAGE.read_text() == document(), "python -m shared.telemetry.metrics > docs/METRICS.md"


def test_names_in_prometheus_are_those_of_otlp() -> None:
    names = {name: metric.prometheus_name for name, metric in METRICS.items()}

    assert names["threadhouse.lease.lost"] == "threadhouse_lease_lost_total"
    assert names["threadhouse.turns.age_ms"] == "threadhouse_turns_age_ms"
    assert len(set(names.values())) == len(names)
