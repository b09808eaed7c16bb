"""Read compose.yaml as Docker Compose does, as far as the file goes. What this module does not know is an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEFAULT_NETWORK = "default"
DEFAULT_GRACE_SECONDS = 10.0
KNOWN_TOP = {"name", "services", "networks", "volumes"}
KNOWN = {
    *("image", "build", "command", "entrypoint", "user", "environment", "volumes", "networks", "ports", "depends_on"),
    *("healthcheck", "restart", "init", "logging", "stop_grace_period", "deploy", "ulimits", "mem_limit", "profiles"),
    "security_opt",
}
KNOWN_SECURITY = {"seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"}
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
SIZES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True)
class Mount:
    """source: name of a volume, or a path on this machine (is_volume tells which)."""

    source: str
    target: str
    is_volume: bool
    read_only: bool


@dataclass(frozen=True)
class Health:
    command: tuple[str, ...]
    interval_seconds: float
    timeout_seconds: float
    retries: int
    start_seconds: float


@dataclass(frozen=True)
class Service:
    """A service, with all variables replaced.

    command, entrypoint, user: None for those of the image
    depends_on:                service → condition
    nofile, memory_bytes:      None for no limit of its own
    """

    name: str
    image: str
    command: tuple[str, ...] | None
    entrypoint: tuple[str, ...] | None
    user: str | None
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    networks: tuple[str, ...]
    ports: tuple[str, ...]
    depends_on: Mapping[str, str]
    health: Health | None
    restarts: bool
    init: bool
    grace_seconds: float
    replicas: int
    nofile: int | None
    memory_bytes: int | None
    security_opt: frozenset[str]


@dataclass(frozen=True)
class Project:
    """build: image → folder and Dockerfile that it is built from. services: without those of a profile."""

    services: Mapping[str, Service]
    networks: tuple[str, ...]
    build: Mapping[str, tuple[Path, Path]]

    def in_order(self) -> list[Service]:
        """Return the services, each behind those that it depends on."""
        ordered: dict[str, Service] = {}

        def add(name: str) -> None:
            for other in self.services[name].depends_on:
                add(other)
            ordered.setdefault(name, self.services[name])

        for name in self.services:
            add(name)
        return list(ordered.values())


def load(file: Path, environ: Mapping[str, str]) -> Project:
    """Return the project of a compose file. Errors: ValueError for what is unknown here, and for missing variables."""
    document = yaml.safe_load(file.read_text())
    _refuse_unknown("", {name for name in document if not name.startswith("x-")}, KNOWN_TOP)
    for kind in ("networks", "volumes"):
        _refuse_unknown(kind, {name for name, value in document[kind].items() if value is not None}, set())
    described = {name: _interpolate(value, environ) for name, value in document["services"].items()}
    project = Project(
        {name: _service(name, value, file.parent) for name, value in described.items() if "profiles" not in value},
        (DEFAULT_NETWORK, *document["networks"]),
        {value["image"]: _build(value["build"], file.parent) for value in described.values() if "build" in value},
    )
    _check_names(project, set(document["volumes"]))
    return project


def _check_names(project: Project, volumes: set[str]) -> None:
    for service in project.services.values():
        _refuse_unknown(f"{service.name}.networks", set(service.networks), set(project.networks))
        _refuse_unknown(f"{service.name}.depends_on", set(service.depends_on), set(project.services))
        _refuse_unknown(f"{service.name}.volumes", {m.source for m in service.mounts if m.is_volume}, volumes)


def _service(name: str, value: dict[str, Any], folder: Path) -> Service:
    _refuse_unknown(name, set(value), KNOWN)
    _refuse_unknown(f"{name}.deploy", set(value.get("deploy", {})), {"replicas"})
    _refuse_unknown(f"{name}.ulimits", set(value.get("ulimits", {})), {"nofile"})
    _refuse_unknown(f"{name}.security_opt", set(value.get("security_opt", [])), KNOWN_SECURITY)
    _refuse_unknown(f"{name}.restart", {value.get("restart", "no")}, {"no", "unless-stopped"})
    return Service(
        name=name,
        image=value["image"],
        command=_words(value.get("command")),
        entrypoint=_words(value.get("entrypoint")),
        user=value.get("user"),
        environment=value.get("environment", {}),
        mounts=tuple(_mount(text, folder) for text in value.get("volumes", [])),
        networks=tuple(value.get("networks", [DEFAULT_NETWORK])),
        ports=tuple(value.get("ports", [])),
        depends_on=_conditions(value.get("depends_on", {})),
        health=_health(name, value["healthcheck"]) if "healthcheck" in value else None,
        restarts=value.get("restart") == "unless-stopped",
        init=value.get("init", False),
        grace_seconds=_seconds(value["stop_grace_period"]) if "stop_grace_period" in value else DEFAULT_GRACE_SECONDS,
        replicas=value.get("deploy", {}).get("replicas", 1),
        nofile=value.get("ulimits", {}).get("nofile"),
        memory_bytes=_bytes(value["mem_limit"]) if "mem_limit" in value else None,
        security_opt=frozenset(value.get("security_opt", [])),
    )


def _words(value: list[str] | None) -> tuple[str, ...] | None:
    if isinstance(value, str):
        raise ValueError(f"compose.yaml: write {value!r} as a list, which is passed on as it is")
    return None if value is None else tuple(value)


def _mount(text: str, folder: Path) -> Mount:
    source, target, *rest = text.split(":")
    _refuse_unknown(text, set(rest), {"ro"})
    is_volume = not source.startswith((".", "/"))
    return Mount(source if is_volume else str((folder / source).resolve()), target, is_volume, rest == ["ro"])


def _conditions(value: list[str] | dict[str, Any]) -> dict[str, str]:
    if isinstance(value, list):
        return dict.fromkeys(value, "service_started")
    return {name: entry["condition"] for name, entry in value.items()}


def _health(name: str, value: dict[str, Any]) -> Health:
    _refuse_unknown(f"{name}.healthcheck", set(value), {"test", "interval", "timeout", "retries", "start_period"})
    kind, *command = value["test"]
    if kind != "CMD":
        raise ValueError(f"compose.yaml: {name}.healthcheck.test must begin with CMD")
    return Health(
        tuple(command),
        _seconds(value["interval"]),
        _seconds(value["timeout"]),
        value["retries"],
        _seconds(value.get("start_period", "0s")),
    )


def _build(value: dict[str, str], folder: Path) -> tuple[Path, Path]:
    _refuse_unknown("build", set(value), {"context", "dockerfile"})
    context = (folder / value["context"]).resolve()
    return context, context / value["dockerfile"]


def _seconds(text: str) -> float:
    parts = re.findall(r"(\d+)(ms|s|m|h)", text)
    if "".join(map("".join, parts)) != text:
        raise ValueError(f"compose.yaml: {text!r} is no duration")
    return sum(int(number) * UNITS[unit] for number, unit in parts)


def _bytes(text: str) -> int:
    return int(text[:-1]) * SIZES[text[-1]]


def _interpolate(value: Any, environ: Mapping[str, str]) -> Any:
    """Replace `$$`, `${NAME}`, `${NAME:-default}` and `${NAME:?message}` in all texts of a value."""
    if isinstance(value, dict):
        return {name: _interpolate(member, environ) for name, member in value.items()}
    if isinstance(value, list):
        return [_interpolate(member, environ) for member in value]
    if not isinstance(value, str):
        return value

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        if match["name"] is None:
            raise ValueError(f"compose.yaml: a single $ in {value!r}")
        given = environ.get(match["name"], "")
        if not given and match["kind"] == ":?":
            raise ValueError(f"compose.yaml: {match['name']}: {match['text']}")
        return given or match["text"] or ""

    return re.sub(r"\$\$|\$(?:\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<text>[^}]*))?\})?", replacement, value)


def _refuse_unknown(place: str, given: set[str], known: set[str]) -> None:
    if unknown := given - known:
        names = ", ".join(sorted(unknown))
        raise ValueError(f"compose.yaml, {place or 'top level'}: unknown to tests/image/compose.py: {names}")
