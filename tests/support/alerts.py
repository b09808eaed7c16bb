"""The alerts of deploy/prometheus that hold now, by the pages of a deployment's metrics.

It knows the shapes of PromQL that compare a gauge with a number; alerts about rates are left out, as is `for`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from prometheus_client import Metric

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"
Series = list[tuple[dict[str, str], float]]


def firing(pages: Sequence[Mapping[str, Metric]]) -> set[str]:
    """Return the names of the alerts about gauges whose expressions hold."""
    found = set()
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            if "[" not in rule["expr"] and _values(promql_parser.parse(rule["expr"]), pages):
                found.add(rule["alert"])
    return found


def _values(node: Any, pages: Sequence[Mapping[str, Metric]]) -> Series:
    """Return the series of an expression. Errors: AssertionError: it has a shape that is not known here."""
    match node:
        case promql_parser.VectorSelector():
            return [(one.labels, one.value) for one in _samples(pages, node.name) if _matches(node, one.labels)]
        case promql_parser.Call():
            assert node.func.name == "absent", node.func.name
            return [] if _values(node.args[0], pages) else [({}, 1.0)]
        case promql_parser.AggregateExpr():
            assert str(node.op) == "max", node.op
            groups: dict[tuple[str, ...], float] = {}
            names = node.modifier.labels if node.modifier else ()
            for labels, value in _values(node.expr, pages):
                key = tuple(labels.get(name, "") for name in names)
                groups[key] = max(value, groups.get(key, value))
            return [(dict(zip(names, key, strict=True)), value) for key, value in groups.items()]
        case promql_parser.BinaryExpr():
            compared = {"==": float.__eq__, ">": float.__gt__}[str(node.op)]
            return [one for one in _values(node.lhs, pages) if compared(float(one[1]), float(node.rhs.val))]
    raise AssertionError(f"not known here: {node}")


def _samples(pages: Sequence[Mapping[str, Metric]], name: str) -> list[Any]:
    return [one for page in pages for family in page.values() for one in family.samples if one.name == name]


def _matches(selector: Any, labels: Mapping[str, str]) -> bool:
    for matcher in selector.matchers.matchers:
        is_same = bool(re.fullmatch(re.escape(matcher.value), labels.get(matcher.name, "")))
        if is_same != (str(matcher.op) in ("MatchOp.Equal", "=")):
            return False
    return True
