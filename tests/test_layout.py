"""The rooms of the house: who may import whom, a method's file, a queue's server."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from shared.queue import QUEUES

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {"shared": {"shared"}, "api": {"api", "shared"}, "workers": {"workers", "shared"}}
METHODS_WITHOUT_FILE = {"__init__", "document", "without_effect"}


def imported(source: str) -> set[str]:
    """First words of everything that the source imports, also inside functions."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide the direction"
            modules.add(node.module or "")
    return {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_go_from_the_doors_and_the_hands_to_the_language(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files

    wrong = {
        str(file.relative_to(ROOT)): forbidden
        for file in files
        if (forbidden := imported(file.read_text()) & MAY_IMPORT.keys() - MAY_IMPORT[room])
    }

    assert wrong == {}


def test_telemetry_alone_knows_opentelemetry() -> None:
    files = [file for room in MAY_IMPORT for file in (ROOT / room).rglob("*.py")]
    knowing = {file for file in files if {"opentelemetry", "grpc"} & imported(file.read_text())}

    assert {str(file.relative_to(ROOT)) for file in knowing} == {
        "shared/telemetry/sdk.py",
        "shared/telemetry/exporters.py",
        "shared/telemetry/log_records.py",
    }


def file_name(method: str) -> str:
    """`turn/start` → turn_start, `configRequirements/read` → config_requirements_read."""
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", method).replace("/", "_").lower()


def test_a_method_stands_in_the_file_that_its_name_on_the_wire_tells() -> None:
    for file in sorted((ROOT / "api" / "methods").glob("*.py")):
        if file.stem in METHODS_WITHOUT_FILE:
            continue
        names = [
            node.value.value
            for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.Assign)
            and [ast.unparse(target) for target in node.targets] == ["NAME"]
            and isinstance(node.value, ast.Constant)
        ]

        assert [file_name(str(name)) for name in names] == [file.stem]


@pytest.mark.parametrize(
    ("method", "stem"),
    [
        ("initialize", "initialize"),
        ("turn/start", "turn_start"),
        ("configRequirements/read", "config_requirements_read"),
        ("thread/name/set", "thread_name_set"),
    ],
)
def test_the_rule_of_method_files(method: str, stem: str) -> None:
    assert file_name(method) == stem


def test_the_procfile_serves_every_queue_once_and_up_serves_all() -> None:
    served = re.findall(r"^\w+: threadhouse worker(?: --queues (\S+))?$", (ROOT / "Procfile").read_text(), re.MULTILINE)

    from api.cli.up import EVERY_QUEUE
    from api.cli.worker import TURN_QUEUES

    assert sorted(",".join(queues or TURN_QUEUES for queues in served).split(",")) == sorted(QUEUES)
    assert sorted(EVERY_QUEUE.split(",")) == sorted(QUEUES)
