"""Break random places of the source, one at a time, and list those that no unit test notices: `make mutants`.

Coverage of the unit tests, with the test as context, is measured first; it chooses the tests that run for each place.
What runs at import, once for all tests, is tested by those that run another line of its file, or, when there is none,
of its folder. For what only a tool runner runs, a process of its own, they are the tests of its folder. A mutant is
killed when one of them fails or hangs. The work happens in a copy of the repository.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from coverage import CoverageData

from tests.mutants.places import Place, find

ROOT = Path(__file__).parents[2]
# Engine, store, relay and sandbox.
FOLDERS = ("workers/agent", "workers/control", "workers/journal", "workers/sandbox", "shared/events", "shared/store")
FOLDERS += ("api/delivery",)
TESTS = ("tests/api", "tests/shared", "tests/workers")
COPIED = ("api", "shared", "workers", "tests", "pyproject.toml", "README.md", "docs", "deploy", "CONTRIBUTING.md")
PACKAGES = ("api", "shared", "workers")
MAX_TESTS = 60  # for one mutant, of those that run its line: first of its own folder's tests
TEST_SECONDS, MUTANT_SECONDS = 60, 1800  # for one test, and for all tests of one mutant
RUNNER, RUNNER_TESTS = "workers/sandbox/runner.py", ["tests/workers/sandbox", "tests/workers/calls"]
MEASURE = "import coverage; coverage.Coverage({file!r}, data_suffix=True, auto_data=True).start(); "

Contexts = dict[int, list[str]]


def main() -> None:
    options = _parser().parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1_000_000)
    print(f"SEED={seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="threadhouse-mutants-") as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy(source, copy / name)
        data = options.coverage or _measure(copy)
        covered = _contexts(data)
        for file in data.parent.glob(f"{data.name}.runner.*"):
            _add_lines(covered, file)
        places = [place for file in _files(options.folders) for place in find(file, (ROOT / file).read_bytes())]
        unseen = [place for place in places if not _tests_of(place, covered)]
        print(f"{len(places)} places, {len(unseen)} ({len(unseen) / len(places):.1%}) run in no unit test", flush=True)
        _print_by_file(unseen)
        rng = random.Random(seed)
        drawn = rng.sample([place for place in places if place not in set(unseen)], options.count)
        survivors = [place for place in drawn if _survives(place, _tests_of(place, covered), copy, rng)]
    print(f"{len(survivors)} of {len(drawn)} ({len(survivors) / len(drawn):.1%}) survive")
    for place in survivors:
        print(_describe(place))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Break random places of the source and list what no test notices.")
    parser.add_argument("--count", type=int, default=150, help="Number of mutants.")
    parser.add_argument("--seed", type=int, help="Of the draw; default: a random one.")
    parser.add_argument("--coverage", type=Path, help="Coverage data that was measured before.")
    parser.add_argument("folders", nargs="*", default=FOLDERS, help="Folders and files to mutate.")
    return parser


def _measure(copy: Path) -> Path:
    """Run the unit tests with coverage. Return the data file."""
    runner, data = copy / RUNNER, copy / ".coverage"
    source = runner.read_text()
    start = "from workers.runner.server import main"
    runner.write_text(source.replace(start, MEASURE.format(file=f"{data}.runner") + start))
    options = ["--cov=api", "--cov=shared", "--cov=workers", "--cov-context=test", "--cov-report="]
    _pytest(copy, [*options, "--numprocesses", "2", *TESTS], 3600)
    runner.write_text(source)
    return data


def _contexts(file: Path) -> dict[str, Contexts]:
    """Return file → line → the tests that run it, from coverage data."""
    found: dict[str, Contexts] = {}
    data = CoverageData(str(file))
    data.read()
    for measured in data.measured_files():
        by_line = data.contexts_by_lineno(measured).items()
        tests = {line: sorted({one.rpartition("|")[0] for one in contexts if "|" in one}) for line, contexts in by_line}
        found[_relative(measured)] = tests
    _add_imported(found)
    return found


def _add_imported(covered: dict[str, Contexts]) -> None:
    """Give the lines that ran at import, in no test, the tests that run another line of their file or folder."""
    of_file = {file: {test for tests in lines.values() for test in tests} for file, lines in covered.items()}
    of_folder: dict[str, set[str]] = {}
    for file, tests in of_file.items():
        of_folder.setdefault(os.path.dirname(file), set()).update(tests)
    for file, lines in covered.items():
        imported = sorted(of_file[file] or of_folder[os.path.dirname(file)])
        lines.update({line: imported for line, tests in lines.items() if not tests})


def _add_lines(covered: dict[str, Contexts], file: Path) -> None:
    """Add the lines that a tool runner ran and no test did."""
    data = CoverageData(str(file))
    data.read()
    for measured in data.measured_files():
        if any(f"/{package}/" in measured for package in PACKAGES):
            lines = covered.setdefault(_relative(measured), {})
            lines.update({line: RUNNER_TESTS for line in data.lines(measured) or () if not lines.get(line)})


def _relative(measured: str) -> str:
    package = next(package for package in PACKAGES if f"/{package}/" in measured)
    return f"{package}/{measured.partition(f'/{package}/')[2]}"


def _files(folders: list[str]) -> list[str]:
    return sorted(
        str(file.relative_to(ROOT))
        for folder in folders
        for file in ([ROOT / folder] if folder.endswith(".py") else (ROOT / folder).rglob("*.py"))
        if "schema" not in file.parts
    )


def _tests_of(place: Place, covered: dict[str, Contexts]) -> list[str]:
    return covered.get(place.file, {}).get(place.line, [])


def _choose(place: Place, tests: list[str], rng: random.Random) -> list[str]:
    """Return at most MAX_TESTS tests at random: first those of the file, then of its folder, then others."""
    file = Path("tests", place.file)
    named = (str(file.with_name(f"test_{file.name}")), str(file.parent / f"test_{file.parent.name}.py"))

    def distance(test: str) -> int:
        return 0 if test.startswith(named) else 1 if test.startswith(f"{file.parent}/") else 2

    return sorted(rng.sample(tests, len(tests)), key=distance)[:MAX_TESTS]


def _survives(place: Place, tests: list[str], copy: Path, rng: random.Random) -> bool:
    """Run tests with the mutant in the copy. Return whether all of them pass."""
    file = copy / place.file
    source = file.read_bytes()
    file.write_bytes(place.apply(source))
    try:
        chosen = _choose(place, tests, rng)
        passed = _pytest(copy, ["--exitfirst", "--timeout", str(TEST_SECONDS), *chosen], MUTANT_SECONDS)
    finally:
        file.write_bytes(source)
    print("survived" if passed else "killed  ", _describe(place), flush=True)
    return passed


def _pytest(copy: Path, arguments: list[str], seconds: float) -> bool:
    """Run pytest in the copy. Return whether all tests passed in time."""
    environ = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "--quiet", *arguments]
    process = subprocess.Popen(
        command, cwd=copy, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
        return False


def _describe(place: Place) -> str:
    line = (ROOT / place.file).read_text().splitlines()[place.line - 1].strip()
    return f"{place.file}:{place.line}: {place.kind}: {line}"


def _print_by_file(places: list[Place]) -> None:
    for file, count in Counter(place.file for place in places).most_common(15):
        print(f"  {count:4} in {file}")


if __name__ == "__main__":
    main()
