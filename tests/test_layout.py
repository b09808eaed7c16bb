"""The layout of the project: permitted imports, the files of methods, docstrings of folders, and the served queues."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from shared.queue import QUEUES

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {"shared": {"shared"}, "api": {"api", "shared"}, "workers": {"workers", "shared"}}
METHODS_WITHOUT_FILE = {"__init__", "document", "without_effect"}
# The command line starts the processes of both sides: it may import both, and no other package imports it.
COMPOSITION_ROOT = "api.cli"


def source_files(package: str) -> list[Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    return files


def imported(source: str) -> set[str]:
    """Return the dotted names of all imports in the source, including those in functions and those for types only."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide the direction: use absolute ones"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def packages(source: str) -> set[str]:
    """Return the top-level packages that the source imports."""
    return {module.partition(".")[0] for module in imported(source)}


def folder(module: str) -> str:
    """Return the folder of a dotted name, two levels deep. A module directly in a package counts as a folder."""
    return ".".join(module.split(".")[:2])


def imports_by_folder() -> dict[str, set[str]]:
    """Return folder → the other folders that it imports."""
    found: dict[str, set[str]] = {}
    for package in MAY_IMPORT:
        for file in source_files(package):
            source = folder(".".join(file.relative_to(ROOT).with_suffix("").parts))
            targets = {folder(module) for module in imported(file.read_text()) if module.split(".")[0] in MAY_IMPORT}
            found.setdefault(source, set()).update(targets - {source})
    return found


def cycles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Yield the shortest cycle through each folder that is part of one."""
    for start in sorted(graph):
        paths = [[start]]
        seen: set[str] = set()
        while paths:
            path = paths.pop(0)
            for target in sorted(graph.get(path[-1], ())):
                if target == start:
                    yield [*path, target]
                    paths = []
                    break
                if target not in seen:
                    seen.add(target)
                    paths.append([*path, target])


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_api_and_workers_import_shared_and_never_each_other(package: str) -> None:
    wrong = {
        str(file.relative_to(ROOT)): forbidden
        for file in source_files(package)
        if not file.is_relative_to(ROOT / "api" / "cli")
        if (forbidden := packages(file.read_text()) & MAY_IMPORT.keys() - MAY_IMPORT[package])
    }

    assert wrong == {}


def test_imports_between_folders_have_no_cycle() -> None:
    assert list(cycles(imports_by_folder())) == []


def test_an_import_cycle_is_found() -> None:
    assert next(cycles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()})) == ["a", "b", "c", "a"]


def test_only_the_command_line_imports_the_command_line() -> None:
    assert [source for source, targets in imports_by_folder().items() if COMPOSITION_ROOT in targets] == []


def test_each_folder_has_a_docstring() -> None:
    undocumented = [
        str(file.relative_to(ROOT))
        for package in MAY_IMPORT
        for file in source_files(package)
        if file.name == "__init__.py"
        and "schema" not in file.parts
        and not ast.get_docstring(ast.parse(file.read_text()))
    ]

    assert undocumented == []


def test_only_telemetry_imports_opentelemetry() -> None:
    files = [file for package in MAY_IMPORT for file in source_files(package)]
    importing = {file for file in files if {"opentelemetry", "grpc", "prometheus_client"} & packages(file.read_text())}

    assert {str(file.relative_to(ROOT)) for file in importing} == {
        "shared/telemetry/sdk.py",
        "shared/telemetry/exposition.py",
        "shared/telemetry/exporters.py",
        "shared/telemetry/log_records.py",
    }


def modules_without_tests_of_their_name() -> set[str]:
    """Return the modules for which no test file has the name of the module or of its folder."""
    files = {file.relative_to(ROOT) for package in MAY_IMPORT for file in source_files(package)}
    found = set()
    for file in files:
        if file.name == "__init__.py" or file.is_relative_to("shared/store/schema"):  # its steps run in each test
            continue
        named = (f"{file.parent}/test_{file.stem}.py", *(f"{at}/test_{file.parent.name}.py" for at in file.parents[:2]))
        if not any((ROOT / "tests" / name).exists() for name in named):
            found.add(str(file))
    return found


def table_of_tests() -> list[tuple[list[str], list[str]]]:
    """Return the rows of the last table in CONTRIBUTING.md: patterns of modules, and files of tests."""
    _, _, table = (ROOT / "CONTRIBUTING.md").read_text().partition("| modules | tests |\n|---|---|\n")
    rows = [[re.findall("`([^`]+)`", cell) for cell in row.strip("| ").split(" | ")] for row in table.splitlines()]
    return [(modules, tests) for modules, tests in rows]


def test_the_tests_of_each_module_are_found_by_name_or_in_the_table() -> None:
    modules, table = modules_without_tests_of_their_name(), table_of_tests()
    patterns = {pattern for row, _ in table for pattern in row}

    missing = {module for module in modules if not any(fnmatchcase(module, pattern) for pattern in patterns)}
    needless = {pattern for pattern in patterns if not any(fnmatchcase(module, pattern) for module in modules)}
    gone = {test for _, row in table for test in row if not (ROOT / test).exists()}

    assert (missing, needless, gone) == (set(), set(), set()), "correct the table in CONTRIBUTING.md"


def file_name(method: str) -> str:
    """Return the file name of a method: `turn/start` → turn_start, `configRequirements/read` → config_…_read."""
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", method).replace("/", "_").lower()


def test_the_file_of_a_method_is_named_after_the_method() -> None:
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
def test_file_name_converts_the_name_of_a_method(method: str, stem: str) -> None:
    assert file_name(method) == stem


def test_the_procfile_serves_each_queue_once_and_up_serves_every_queue() -> None:
    served = re.findall(r"^\w+: threadhouse worker(?: --queues (\S+))?$", (ROOT / "Procfile").read_text(), re.MULTILINE)

    from api.cli.up import EVERY_QUEUE
    from api.cli.worker import TURN_QUEUES

    assert sorted(",".join(queues or TURN_QUEUES for queues in served).split(",")) == sorted(QUEUES)
    assert sorted(EVERY_QUEUE.split(",")) == sorted(QUEUES)
