"""Check that the commands and settings in the deployment files and documents are valid, without a container engine."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from api.cli import COMMANDS, commands
from shared import config
from shared.queue import QUEUES
from tests.image import compose as compose_file

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "threadhouse"}
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").glob("*.md")])
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()


def parse(arguments: list[str]) -> click.Context:
    """Parse the arguments of `threadhouse`. Errors: click.UsageError (an unknown command or option, a bad value)."""
    command, rest = find_command(arguments)
    return command.make_context(command.name, rest)


def find_command(arguments: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that the arguments name, in whichever group, and its own arguments."""
    found: click.Command = commands
    rest = list(arguments)
    while isinstance(found, click.Group) and rest and not rest[0].startswith("-"):
        named = found.get_command(click.Context(found), rest[0])
        assert named is not None, arguments
        found, rest = named, rest[1:]
    return found, rest


def documented_commands() -> list[list[str]]:
    """Return the arguments of each `threadhouse` command in a document, in a code block or between backticks."""
    found: set[tuple[str, ...]] = set()
    for document in DOCUMENTS:
        for line in document.read_text().splitlines():
            lines = [line] if line.startswith("    ") else re.findall(r"`([^`]+)`", line)
            for code in lines:
                for command in re.findall(r"(?:^|\s|bin/)threadhouse (?=[a-z])([^#;&|→]+)", code):
                    found.add(tuple(shlex.split(command)))
                for command in re.findall(r"docker compose .* run --rm beat (.+)", code):
                    found.add(tuple(shlex.split(command)))
    return [list(words) for words in sorted(found)]


def procfile() -> list[list[str]]:
    return [shlex.split(line.partition(": threadhouse ")[2]) for line in (ROOT / "Procfile").read_text().splitlines()]


@pytest.mark.parametrize("arguments", [*procfile(), *(service["command"] for service in OURS.values())])
def test_every_process_runs_an_existing_command(arguments: list[str]) -> None:
    assert arguments[0] in COMMANDS
    parse(arguments)


@pytest.mark.parametrize("arguments", documented_commands(), ids=" ".join)
def test_every_command_in_a_document_is_valid(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THREADHOUSE_HOME", str(tmp_path))  # restores the variable, which --home sets
    for name in arguments:
        if name.endswith((".pem", ".tar.gz")):
            (tmp_path / name).touch()

    command, rest = find_command(arguments)

    if rest:  # otherwise the document only names the command
        command.make_context(command.name, rest)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_in_a_document_exists(document: Path) -> None:
    paths = re.findall(r"`((?:api|deploy|docs|shared|tests|workers)/[\w./-]+)`", document.read_text())

    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_promise_of_the_threat_model_names_a_test_that_exists() -> None:
    promises = re.search(r"## What is guaranteed\n(.*?)\n## ", (ROOT / "deploy" / "SECURITY.md").read_text(), re.DOTALL)
    assert promises is not None
    named = [re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", promise) for promise in promises[1].split("\n- **")[1:]]
    missing = [(file, test) for tests in named for file, test in tests if not has_test(ROOT / file, test)]

    assert named
    assert all(named), "a promise names no test"
    assert missing == []


def has_test(file: Path, name: str) -> bool:
    """Return whether the file exists and has this test. name: "" for the file alone."""
    return file.exists() and (not name or f"\ndef {name}(" in file.read_text())


def test_compose_runs_two_api_processes_and_two_workers() -> None:
    replicas = {
        name: service.get("deploy", {}).get("replicas", 1)
        for name, service in SERVICES.items()
        if "profiles" not in service
    }

    assert replicas == {
        "proxy": 1,
        "api": 2,
        "worker": 2,
        "runner": 1,
        "background": 1,
        "beat": 1,
        "migrate": 1,
        "redis": 1,
        "postgres": 1,
    }


def test_compose_serves_every_queue() -> None:
    served = [
        parse(service["command"]).params["queues"] for service in OURS.values() if service["command"][0] == "worker"
    ]

    assert sorted(",".join(served).split(",")) == sorted(QUEUES)


def test_compose_migrates_before_it_starts_processes_that_use_the_database() -> None:
    assert OURS["migrate"]["restart"] == "no"
    for name, service in OURS.items():
        if name == "runner":
            continue  # it does not use the database
        for other, condition in service["depends_on"].items():
            wanted = "service_completed_successfully" if other == "migrate" else "service_healthy"
            assert condition["condition"] == wanted
            assert wanted != "service_healthy" or "healthcheck" in SERVICES[other]
        assert ("postgres" if name == "migrate" else "migrate") in service["depends_on"]


def test_compose_allows_namespaces_only_in_the_runner() -> None:
    for name, service in SERVICES.items():
        runs_commands = service.get("command", [""])[0] == "runner"
        assert ("seccomp=unconfined" in service.get("security_opt", [])) == runs_commands, name
        assert "privileged" not in service
        assert "cap_add" not in service


def test_compose_publishes_only_the_proxy_and_only_to_this_host() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert [name for name in published if "profiles" not in SERVICES[name]] == ["proxy"]
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_every_file_and_volume_that_compose_mounts_exists() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            assert (ROOT / "deploy" / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


def test_the_settings_of_the_deployment_are_valid() -> None:
    environ = {name: re.sub(r"\$\{.*?\}", "x", value) for name, value in OURS["api"]["environment"].items()}
    environ["THREADHOUSE_SECRETS_KEY"] = ""  # optional

    loaded = config.load(ROOT / "deploy", environ)

    assert loaded.warnings == ()
    assert loaded.database_url == "postgresql+psycopg://threadhouse:x@postgres/threadhouse"


def test_the_image_copies_existing_files_and_runs_as_an_unprivileged_user() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert all((ROOT / name).exists() for names in copied for name in names.split())
    assert {"api", "workers", "shared", "pyproject.toml"} <= set(" ".join(copied).split())
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["threadhouse"]
    assert "bubblewrap" in DOCKERFILE


def test_the_image_installs_what_pyproject_asks_for_by_version_and_hash() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["otel"]]
    lock = (ROOT / "deploy" / "requirements.txt").read_text()
    locked = {
        canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE)
    }

    missing = [
        str(needed)
        for needed in wanted
        if not needed.specifier.contains(locked.get(canonicalize_name(needed.name), "0"))
    ]
    assert missing == [], "run `make lock`, which writes deploy/requirements.txt anew"
    assert re.findall(r"^(?!#|    --hash=sha256:)(?![\w.-]+==[\w.]+( ; .+)? \\$).+$", lock, re.MULTILINE) == []
    assert re.findall(r"^FROM (?!base)(\S+)", DOCKERFILE, re.MULTILINE)[0].partition("@sha256:")[2]


def test_compose_is_a_file_that_the_test_of_the_image_can_run() -> None:
    project = compose_file.load(ROOT / "deploy" / "compose.yaml", {"POSTGRES_PASSWORD": "x"})

    assert set(project.services) == {name for name, service in SERVICES.items() if "profiles" not in service}
    assert {name for name, service in project.services.items() if service.health is None} == {"beat", "migrate"}
    with pytest.raises(ValueError, match="POSTGRES_PASSWORD: set it to a random word"):
        compose_file.load(ROOT / "deploy" / "compose.yaml", {})


def test_the_proxy_passes_websockets_and_streams() -> None:
    conf = (ROOT / "deploy" / "nginx.conf").read_text()

    for directive in (
        "proxy_http_version 1.1",
        "proxy_set_header Upgrade",
        "proxy_buffering off",
        "proxy_read_timeout 12h",
    ):
        assert directive in conf
    assert conf.count("{") == conf.count("}")


def test_the_collector_starts_only_with_its_profile_and_listens_where_the_settings_send() -> None:
    collector = SERVICES["otel-collector"]
    settings = yaml.safe_load((ROOT / "deploy" / "otel-collector.yaml").read_text())

    assert collector["profiles"] == ["telemetry"]
    assert not any("otel-collector" in service.get("depends_on", {}) for service in SERVICES.values())
    parts = {kind: set(settings[kind]) for kind in ("receivers", "processors", "exporters")}
    assert settings["service"]["pipelines"].keys() == {"logs", "traces", "metrics"}
    for pipeline in settings["service"]["pipelines"].values():
        assert all(set(used) <= parts[kind] for kind, used in pipeline.items())
    port = settings["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    endpoints = re.findall(r"http://([\w-]+):(\d+)/v1/(\w+)", (ROOT / "deploy" / "config.toml").read_text())
    assert endpoints == [("otel-collector", port, kind) for kind in ("logs", "traces", "metrics")]


def test_the_runner_is_another_user_without_secrets_and_without_access_to_the_databases() -> None:
    runner, options = OURS["runner"], parse(OURS["runner"]["command"]).params

    assert "environment" not in runner
    assert not any("config.toml" in mount for mount in runner["volumes"])
    assert runner["networks"] == ["commands"]
    assert [name for name, service in SERVICES.items() if "commands" in service.get("networks", [])] == ["runner"]
    assert runner["user"] == "threadhouse-runner" != options["worker"] == "threadhouse"
    assert {"threadhouse-runner", options["group"]} <= set(re.findall(r"[\w-]+", DOCKERFILE))


def test_only_the_runner_mounts_the_workspaces_and_workers_mount_its_socket() -> None:
    loaded = config.load(ROOT / "deploy", {})
    mounted = {
        name: dict(mount.split(":")[:2] for mount in service.get("volumes", [])) for name, service in OURS.items()
    }

    assert [name for name, volumes in mounted.items() if "workspaces" in volumes] == ["runner"]
    assert mounted["runner"]["workspaces"] == str(loaded.server.workspaces_dir)
    assert loaded.server.tool_runner is not None
    for name in ("runner", "worker", "background"):
        assert mounted[name]["runner"] == str(loaded.server.tool_runner.parent)
    assert parse(OURS["runner"]["command"]).params["path"] == loaded.server.tool_runner
