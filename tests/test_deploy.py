"""The deployment files, read where no container engine runs: they call commands that exist, in the order that works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from api.cli import COMMANDS, commands
from shared import config
from shared.queue import QUEUES

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "threadhouse"}
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()


def parse(arguments: list[str]) -> click.Context:
    """Errors: click.UsageError, for a command or an option that does not exist."""
    name, *rest = arguments
    command = commands.get_command(click.Context(commands), name)
    assert command is not None, name
    return command.make_context(name, rest)


def procfile() -> list[list[str]]:
    return [shlex.split(line.partition(": threadhouse ")[2]) for line in (ROOT / "Procfile").read_text().splitlines()]


@pytest.mark.parametrize("arguments", [*procfile(), *(service["command"] for service in OURS.values())])
def test_every_process_calls_a_command_that_exists(arguments: list[str]) -> None:
    assert arguments[0] in COMMANDS
    parse(arguments)


def test_compose_runs_two_of_api_and_worker_and_one_of_the_rest() -> None:
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


def test_compose_starts_nothing_of_ours_before_the_schema_is_there() -> None:
    assert OURS["migrate"]["restart"] == "no"
    for name, service in OURS.items():
        if name == "runner":
            continue  # it knows no database
        for other, condition in service["depends_on"].items():
            wanted = "service_completed_successfully" if other == "migrate" else "service_healthy"
            assert condition["condition"] == wanted
            assert wanted != "service_healthy" or "healthcheck" in SERVICES[other]
        assert ("postgres" if name == "migrate" else "migrate") in service["depends_on"]


def test_compose_lets_bubblewrap_work_in_the_runner_and_nowhere_else() -> None:
    for name, service in SERVICES.items():
        runs_commands = service.get("command", [""])[0] == "runner"
        assert ("seccomp=unconfined" in service.get("security_opt", [])) == runs_commands, name
        assert "privileged" not in service
        assert "cap_add" not in service


def test_compose_publishes_the_proxy_alone_and_to_this_host_alone() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["proxy"]["ports"])


def test_every_file_and_volume_that_compose_mounts_exists() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            assert (ROOT / "deploy" / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]


def test_the_settings_of_the_deployment_are_valid() -> None:
    environ = {name: re.sub(r"\$\{.*?\}", "x", value) for name, value in OURS["api"]["environment"].items()}

    loaded = config.load(ROOT / "deploy", environ)

    assert loaded.warnings == ()
    assert loaded.database_url == "postgresql+psycopg://threadhouse:x@postgres/threadhouse"


def test_the_image_copies_what_exists_and_does_not_run_as_root() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert all((ROOT / name).exists() for names in copied for name in names.split())
    assert {"api", "workers", "shared", "pyproject.toml"} <= set(" ".join(copied).split())
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["threadhouse"]
    assert "bubblewrap" in DOCKERFILE


def test_the_proxy_lets_websockets_and_streams_pass() -> None:
    conf = (ROOT / "deploy" / "nginx.conf").read_text()

    for directive in (
        "proxy_http_version 1.1",
        "proxy_set_header Upgrade",
        "proxy_buffering off",
        "proxy_read_timeout 12h",
    ):
        assert directive in conf
    assert conf.count("{") == conf.count("}")


def test_the_collector_starts_with_its_profile_alone_and_takes_what_the_settings_offer_it() -> None:
    collector = SERVICES["otel-collector"]
    settings = yaml.safe_load((ROOT / "deploy" / "otel-collector.yaml").read_text())

    assert collector["profiles"] == ["telemetry"]
    assert not any("otel-collector" in service.get("depends_on", {}) for service in SERVICES.values())
    parts = {kind: set(settings[kind]) for kind in ("receivers", "processors", "exporters")}
    assert settings["service"]["pipelines"].keys() == {"logs", "traces", "metrics"}
    for pipeline in settings["service"]["pipelines"].values():
        assert all(set(used) <= parts[kind] for kind, used in pipeline.items())
    port = settings["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    offered = re.findall(r"http://([\w-]+):(\d+)/v1/(\w+)", (ROOT / "deploy" / "config.toml").read_text())
    assert offered == [("otel-collector", port, kind) for kind in ("logs", "traces", "metrics")]


def test_the_runner_is_another_user_without_secrets_or_a_way_to_the_databases() -> None:
    runner, options = OURS["runner"], parse(OURS["runner"]["command"]).params

    assert "environment" not in runner
    assert not any("config.toml" in mount for mount in runner["volumes"])
    assert runner["networks"] == ["commands"]
    assert [name for name, service in SERVICES.items() if "commands" in service.get("networks", [])] == ["runner"]
    assert runner["user"] == "threadhouse-runner" != options["worker"] == "threadhouse"
    assert {"threadhouse-runner", options["group"]} <= set(re.findall(r"[\w-]+", DOCKERFILE))


def test_the_runner_alone_has_the_workspaces_and_workers_have_its_socket() -> None:
    loaded = config.load(ROOT / "deploy", {})
    mounted = {name: dict(one.split(":")[:2] for one in service.get("volumes", [])) for name, service in OURS.items()}

    assert [name for name, volumes in mounted.items() if "workspaces" in volumes] == ["runner"]
    assert mounted["runner"]["workspaces"] == str(loaded.server.workspaces_dir)
    assert loaded.server.tool_runner is not None
    for name in ("runner", "worker", "background"):
        assert mounted[name]["runner"] == str(loaded.server.tool_runner.parent)
    assert parse(OURS["runner"]["command"]).params["path"] == loaded.server.tool_runner
