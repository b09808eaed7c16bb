"""The rules of Prometheus and the dashboards of Grafana: they are valid, and name only metrics that there are.

tests/wire/test_metrics.py shows that each of these metrics is emitted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import promql_parser
import pytest
import yaml

from shared.telemetry.metrics import METRICS

ROOT = Path(__file__).parents[1]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARDS: dict[str, dict[str, Any]] = {
    file.stem: json.loads(file.read_text()) for file in sorted((GRAFANA / "dashboards").glob("*.json"))
}
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OF_PROMETHEUS = {"ALERTS": {"alertname", "alertstate"}}  # series → labels that Prometheus makes itself
OF_TARGETS = {"instance", "job"}
SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
KNOWN = {one.prometheus_name + suffix: one for one in METRICS.values() for suffix in SUFFIXES[one.kind]}
PROMTOOL = shutil.which("promtool", path=f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")


def expressions() -> list[tuple[str, str]]:
    """Return (where, PromQL) of each alert and each query of a panel, with values for Grafana's variables."""
    found = [(rule["alert"], rule["expr"]) for rule in RULES]
    for name, board in DASHBOARDS.items():
        variables = {one["name"]: one["query"] for one in board["templating"]["list"]}
        variables |= {"__rate_interval": "1m", "__range": "3h"}
        for panel in board["panels"]:
            for target in panel["targets"]:
                found.append((f"{name}: {panel['title']}", Template(target["expr"]).substitute(variables)))
    return found


def selectors(expression: str) -> Iterator[Any]:
    """Yield the selectors of series in an expression. Errors: ValueError (no PromQL)."""
    found: list[Any] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    yield from found


@pytest.mark.parametrize(("where", "expression"), expressions(), ids=[where for where, _ in expressions()])
def test_an_expression_names_metrics_attributes_and_values_that_there_are(where: str, expression: str) -> None:
    named = list(selectors(expression))

    assert named
    for selector in named:
        if selector.name in OF_PROMETHEUS:
            continue
        metric = KNOWN[selector.name]
        for matcher in selector.matchers.matchers:
            values = metric.attributes[matcher.name]
            pattern = matcher.value if "Re" in str(matcher.op) else re.escape(matcher.value)
            assert any(re.fullmatch(pattern, value) for value in values), f"{matcher.name}={matcher.value}"


@pytest.mark.parametrize(("where", "expression"), expressions(), ids=[where for where, _ in expressions()])
def test_an_expression_groups_by_labels_that_its_metrics_have(where: str, expression: str) -> None:
    labels = {label for words in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.split(r",\s*", words)}
    have = {"le"} | OF_TARGETS
    for selector in selectors(expression):
        have |= OF_PROMETHEUS.get(selector.name) or set(KNOWN[selector.name].attributes)

    assert labels <= have


def test_each_alert_is_described_for_operators_and_tested() -> None:
    _, _, chapter = (ROOT / "deploy" / "README.md").read_text().partition("\n## Monitoring\n")
    chapter = chapter.partition("\n## ")[0]
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
    quiet = {case["alertname"] for test in tests for case in test["alert_rule_test"] if not case.get("exp_alerts")}
    alerts = [rule["alert"] for rule in RULES]

    assert re.findall(r"^\| `(Threadhouse\w+)` \|", chapter, re.MULTILINE) == alerts
    assert fired == quiet == set(alerts)
    assert all(rule["labels"].keys() == {"severity"} and rule["annotations"].keys() == {"summary"} for rule in RULES)


if PROMTOOL is not None:  # `make promtool` gets it, and CI does; the tests above parse all rules without it

    @pytest.mark.parametrize("arguments", [("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")])
    def test_promtool_accepts_the_configuration_and_the_tests_of_the_rules(arguments: tuple[str, ...]) -> None:
        ended = subprocess.run([str(PROMTOOL), *arguments], cwd=PROMETHEUS, capture_output=True, text=True)

        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_there_are_four_dashboards_with_a_source_that_is_provisioned() -> None:
    [source] = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    scrape = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["global"]["scrape_interval"]

    assert DASHBOARDS.keys() == {"api", "fleet", "models", "turns"}
    assert len({board["uid"] for board in DASHBOARDS.values()}) == len(DASHBOARDS)
    for board in DASHBOARDS.values():
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        for panel in board["panels"]:
            assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == scrape


def test_the_profile_mounts_what_prometheus_and_grafana_read_and_is_not_started_without_being_asked() -> None:
    prometheus, grafana = SERVICES["prometheus"], SERVICES["grafana"]
    mounted = {
        name: dict(mount.split(":")[:2] for mount in SERVICES[name]["volumes"]) for name in ("prometheus", "grafana")
    }
    [provider] = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "threadhouse.yml").read_text())["providers"]
    settings = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())

    assert prometheus["profiles"] == grafana["profiles"] == ["monitoring"]
    assert not any(
        {"prometheus", "grafana"} & {*one.get("depends_on", ())} for one in SERVICES.values() if one is not grafana
    )
    assert all(re.search(r":v?\d+\.\d+\.\d+$", service["image"]) for service in (prometheus, grafana))
    assert {f"/etc/prometheus/{name}" for name in settings["rule_files"]} < set(mounted["prometheus"].values())
    assert mounted["grafana"]["./grafana/dashboards"] == provider["options"]["path"]
    assert mounted["grafana"]["./grafana/provisioning"] == "/etc/grafana/provisioning"


def test_grafana_starts_only_with_a_password_that_the_operator_sets() -> None:
    grafana = SERVICES["grafana"]
    [shell, option, script] = (word.replace("$$", "$") for word in grafana["entrypoint"])
    script = script.replace("/run.sh", "true")

    given = subprocess.run([shell, option, script], env={"GF_SECURITY_ADMIN_PASSWORD": "word"})
    refused = subprocess.run(
        [shell, option, script], env={"GF_SECURITY_ADMIN_PASSWORD": ""}, capture_output=True, text=True
    )

    assert grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD"] == "${GRAFANA_PASSWORD:-}"
    assert given.returncode == 0
    assert refused.returncode != 0
    assert "set GRAFANA_PASSWORD" in refused.stderr


def test_prometheus_asks_each_service_that_serves_metrics_at_the_port_of_the_settings() -> None:
    [job] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    [discovery] = job["dns_sd_configs"]
    settings = (ROOT / "deploy" / "config.toml").read_text()
    processes = {
        name
        for name, service in SERVICES.items()
        if service["image"] == "threadhouse" and service["command"][0] in ("web", "worker", "beat")
    }

    assert set(discovery["names"]) == processes
    assert re.findall(r"^# metrics_port = (\d+)", settings, re.MULTILINE) == [str(discovery["port"])]
    assert re.findall(r'^# metrics_host = "(.+)"', settings, re.MULTILINE) == ["0.0.0.0"]
