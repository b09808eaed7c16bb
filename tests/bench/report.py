#!/usr/bin/env python3
"""Prints Markdown tables from JSON files of load.py; files with the same label are merged.

python report.py results/raw/*.json
"""

import json
import statistics
import sys


def median_of(reports):
    """Return the medians of repeated runs, key by key; errors are added up."""
    first = reports[0]
    if isinstance(first, dict):
        keys = dict.fromkeys(k for r in reports if r for k in r)
        out = {}
        for key in keys:
            values = [r[key] for r in reports if r and r.get(key) is not None]
            if key == "errors":
                out[key] = {}
                for value in values:
                    for name, count in value.items():
                        out[key][name] = out[key].get(name, 0) + count
            else:
                out[key] = median_of(values) if values else None
        return out
    if isinstance(first, (int, float)):
        return round(statistics.median(reports), 3)
    return first


def cell(value, key="p50"):
    """Return a figure, or one of its percentiles, as the text of a table cell."""
    if isinstance(value, dict):
        value = value.get(key)
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 10 else f"{value:.2f}"
    return str(value)


TURN_COLUMNS = [
    (
        "ok/err",
        lambda r: f"{sum(x['turns_ok'] for x in r['runs'])}/{sum(sum(x['errors'].values()) for x in r['runs'])}",
    ),
    ("thread/start p50", lambda r: cell(r["median"]["thread_start"])),
    ("accept p50", lambda r: cell(r["median"]["turn_accept"])),
    ("TTFD p50", lambda r: cell(r["median"]["ttfd"])),
    ("TTFD p95", lambda r: cell(r["median"]["ttfd"], "p95")),
    ("relay p50", lambda r: cell(r["median"]["relay"])),
    ("relay p99", lambda r: cell(r["median"]["relay"], "p99")),
    ("overhead p50", lambda r: cell(r["median"]["overhead"])),
    ("p95", lambda r: cell(r["median"]["overhead"], "p95")),
    ("p99", lambda r: cell(r["median"]["overhead"], "p99")),
    ("turns/s", lambda r: cell(r["median"]["turns_per_s"])),
    ("deltas/s", lambda r: cell(r["median"].get("burst_deltas_per_s") or r["median"]["model_deltas_per_s"])),
    ("CPU ms/turn", lambda r: cell(r["median"].get("cpu_ms_per_turn"))),
    ("CPU ms/1000 d", lambda r: cell(r["median"].get("cpu_ms_per_1000_deltas"))),
    ("RSS peak MiB", lambda r: cell((r["median"].get("server") or {}).get("rss_peak_mib"))),
    ("PSS MiB", lambda r: cell((r["median"].get("server") or {}).get("pss_after_mib"))),
    ("others' cores", lambda r: cell(r["median"].get("foreign_cores"))),
]

IDLE_COLUMNS = [
    ("errors", lambda r: str(sum(sum(x["errors"].values()) for x in r["runs"]))),
    ("count", lambda r: cell(r["median"]["count"])),
    ("KiB each (PSS)", lambda r: cell(r["median"].get("kib_each_pss"))),
    ("KiB each (RSS)", lambda r: cell(r["median"].get("kib_each_rss"))),
    ("CPU ms each", lambda r: cell(r["median"].get("cpu_ms_each"))),
    ("per s", lambda r: cell(r["median"]["per_s"])),
    ("p50 ms", lambda r: cell(r["median"]["thread_start"])),
    ("idle CPU %", lambda r: cell(r["median"].get("idle_cpu_percent"))),
]


def table(title, rows, columns):
    print(f"### {title}\n")
    print("| server | " + " | ".join(name for name, _ in columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for label, scenario in rows:
        print(f"| {label} | " + " | ".join(get(scenario) for _, get in columns) + " |")
    print()


def main(paths):
    scenarios = {}  # name -> {label: scenario}
    for path in paths:
        with open(path) as f:
            data = json.load(f)
        for name, scenario in data.get("scenarios", {}).items():
            merged = scenarios.setdefault(name, {}).get(data["label"])
            if merged:
                runs = merged["runs"] + scenario["runs"]
                scenario = {"settings": scenario["settings"], "median": median_of(runs), "runs": runs}
            scenarios[name][data["label"]] = scenario
    for name, rows in scenarios.items():
        settings = next(iter(rows.values()))["settings"]
        idle = "count" in settings and settings.get("mode", "turns") != "turns"
        title = f"{name}: " + ", ".join(f"{k} {v}" for k, v in settings.items())
        table(title, rows.items(), IDLE_COLUMNS if idle else TURN_COLUMNS)


if __name__ == "__main__":
    main(sys.argv[1:])
