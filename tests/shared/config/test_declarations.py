"""Declared settings: the generic reader reads each of them, and lists kept elsewhere agree with the declarations."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest

from api.cli.user_limits import LIMITS
from api.requests.settings import CONFIG_KEYS, CONFIG_OF_COMMANDS, CONFIG_OF_TOOLS, MCP_SERVERS
from shared.config import (
    AuthSettings,
    Config,
    Limits,
    Provider,
    Retention,
    SandboxWorkspaceWrite,
    Server,
    ShellEnvironment,
    load,
)
from shared.config.auto_review import AutoReview
from shared.config.feedback import FeedbackSettings
from shared.config.hooks import HookSettings
from shared.config.mcp_servers import McpServer, McpTool
from shared.config.oidc import OidcSettings
from shared.config.otel import Exporter, Otel, Tls
from shared.config.prices import ModelPrice, Prices
from shared.config.reader import read
from shared.config.setting import Declaration, Setting, declarations
from shared.config.skills import SkillConfig, SkillSwitch
from shared.config.table import ConfigTable
from shared.config.web_search import Tools, WebSearchEndpoint, WebSearchTool
from shared.config.webhooks import Webhook
from shared.config.workspaces import GitCredential, GitHost, WorkspaceSettings
from shared.errors import ConfigError
from shared.store.tables import user_limits


@dataclass(frozen=True)
class Place:
    """A table of config.toml. required: settings that it needs beside the one under test; before: other tables."""

    table: str
    section: type[Any]
    find: Callable[[Config], Any]
    required: Mapping[str, Any] = field(default_factory=dict)
    before: str = ""

    def toml(self, values: Mapping[str, Any]) -> str:
        heading = f"[{self.table}]\n" if self.table else ""
        return self.before + heading + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
PLACES = [
    Place("", Config, lambda config: config),
    Place("server", Server, lambda config: config.server),
    Place("sandbox_workspace_write", SandboxWorkspaceWrite, lambda config: config.sandbox_workspace_write),
    Place("shell_environment_policy", ShellEnvironment, lambda config: config.shell_environment_policy),
    Place("model_providers.x", Provider, lambda config: config.model_providers["x"], {"base_url": "http://h/v1"}),
    Place("limits", Limits, lambda config: config.limits),
    Place("prices", Prices, lambda config: config.prices),
    Place(
        "[prices.models]",
        ModelPrice,
        lambda config: config.prices.models[0],
        {"model": "m", "input": 1.0, "output": 2.0},
    ),
    Place("retention", Retention, lambda config: config.retention),
    Place("auth", AuthSettings, lambda config: config.auth, {"issuer": "i", "audience": "a", "jwks_file": "j"}),
    Place(
        "auth.oidc",
        OidcSettings,
        lambda config: config.auth.oidc if config.auth else None,
        {"issuer": "https://login.example", "client_id": "c"},
    ),
    Place("workspaces", WorkspaceSettings, lambda config: config.workspaces),
    Place("workspaces.git_hosts.'g.example'", GitHost, lambda config: config.workspaces.git_hosts["g.example"]),
    Place(
        "workspaces.credentials.x",
        GitCredential,
        lambda config: config.workspaces.credentials["x"],
        {"host": "g.example", "users": ["*"], "token_env": "TOKEN"},
    ),
    Place("skills", SkillConfig, lambda config: config.skills),
    Place("[skills.config]", SkillSwitch, lambda config: config.skills.config[0], {"name": "a", "enabled": True}),
    Place("[webhooks]", Webhook, lambda config: config.webhooks[0], {"url": "https://h/in", "secret": SECRET}),
    Place("auto_review", AutoReview, lambda config: config.auto_review),
    Place("tools.web_search", WebSearchTool, lambda config: config.tools.web_search),
    Place("web_search_endpoint", WebSearchEndpoint, lambda config: config.web_search_endpoint, {"url": "http://s"}),
    Place("mcp_servers.x", McpServer, lambda config: config.mcp_servers["x"], {"command": "sh"}),
    Place(
        "mcp_servers.x.tools.y",
        McpTool,
        lambda config: config.mcp_servers["x"].tools["y"],
        before='[mcp_servers.x]\ncommand = "sh"\n',
    ),
    Place("hooks", HookSettings, lambda config: config.hooks),
    Place("otel", Otel, lambda config: config.otel),
    Place("feedback", FeedbackSettings, lambda config: config.feedback),
]
VALUES = {  # valid values that do not follow from the type
    "first_day": "2026-11-02",
    "renewal_seconds": 7.5,  # less than authority_seconds
    "authority_seconds": 12.5,  # less than lease_seconds
    "lease_seconds": 60.0,
    "base_url": "https://other/v1",
    "model_provider": "openai",  # one that exists
    "host": "other.example",
    "url": "https://other/in",
    "public_url": "https://other",
    "secrets_key": "A" * 43 + "=",
    "secret": SECRET.replace("M", "N"),
    "user_mcp_hosts": ["mcp.example:8443"],
}
OWN_TESTS = {
    "model",
    "model_provider",
    "jwt_secret_file",
    "mcp_servers.x.url",
    "auth.oidc.issuer",
    "auth.oidc.scopes",
}  # they depend on other settings: see test_config.py


def all_declarations(section: type[Any] = Config) -> Iterator[Declaration]:
    for declared in declarations(section):
        yield declared
        if declared.section is not None:
            yield from all_declarations(declared.section)


def another_value(declared: Declaration) -> Any:
    """A valid value that is not the default."""
    setting = declared.setting
    if declared.field in VALUES:
        return VALUES[declared.field]
    match declared.kind:
        case "flag":
            return not declared.default
        case "integer":
            return max(setting.minimum, 1) + 1
        case "number":
            return 7.5
        case "path":
            return "/elsewhere/x"
        case "texts":
            return [setting.choices[-1]] if setting.choices else ["/x"]
        case "numbers":
            return [7.5, 8.5]
        case _:
            return next((one for one in setting.choices if one != declared.default), "x")


@pytest.mark.parametrize(
    ("place", "declared"),
    [
        pytest.param(place, declared, id=f"{place.table}.{declared.key}")
        for place in PLACES
        for declared in declarations(place.section)
        if declared.section is None
        and declared.kind != "mapping"
        and not declared.setting.env
        and not {declared.key, f"{place.table}.{declared.key}"} & OWN_TESTS
    ],
)
def test_a_declared_setting_is_read_from_config_toml(tmp_path: Path, place: Place, declared: Declaration) -> None:
    value = another_value(declared)
    (tmp_path / "config.toml").write_text(place.toml({**place.required, declared.key: value}))

    loaded = load(tmp_path, {"OPENAI_API_KEY": "k"})  # without a provider there is a warning

    found = getattr(place.find(loaded), declared.field)
    assert (list(found) if isinstance(found, tuple) else str(found) if isinstance(found, Path) else found) == value
    assert found != declared.default
    assert loaded.warnings == ()


def test_the_places_are_all_sections_with_settings_of_their_own() -> None:
    sections = {declared.section for declared in all_declarations() if declared.section is not None}

    assert sections - {place.section for place in PLACES} == {Exporter, Tls, Tools}  # in test_otel.py, test_config.py


def test_every_description_is_one_sentence() -> None:
    for declared in all_declarations():
        assert declared.setting.description.endswith("."), declared.key
        assert declared.setting.description[0] == declared.setting.description[0].upper(), declared.key


def test_the_settings_per_user_are_those_that_the_store_and_the_command_know() -> None:
    per_user = {declared.key for declared in all_declarations() if declared.setting.per_user}

    assert per_user == {column.name for column in user_limits.columns} - {"owner", "weight"}
    assert per_user == LIMITS.keys() - {"weight"}


def test_the_settings_by_clients_are_those_that_a_client_may_write() -> None:
    by_clients = {declared.key for declared in all_declarations() if declared.setting.by_clients}

    known = {*CONFIG_KEYS, *CONFIG_OF_COMMANDS, *CONFIG_OF_TOOLS, MCP_SERVERS}
    assert by_clients == {declared.key for declared in declarations(Config)} & known


@dataclass(frozen=True)
class Example:
    """A section with one setting."""

    size: Annotated[int, Setting("How large it is.", unit="bytes", minimum=2, maximum=9)] = 5


def read_example(values: dict[str, Any]) -> tuple[Example, ConfigTable]:
    table = ConfigTable(Path("config.toml"), {}, values)
    return read(Example, table), table


def test_one_annotated_field_declares_a_setting() -> None:
    assert read_example({})[0].size == 5
    assert read_example({"size": 7})[0].size == 7
    with pytest.raises(ConfigError, match=r"config\.toml: size: expected an integer from 2 to 9, found the number 1"):
        read_example({"size": 1})
    _, table = read_example({"sice": 7})
    assert table.warnings() == ("config.toml: sice: unknown key, ignored; did you mean size?",)


@dataclass(frozen=True)
class FromEnvironment:
    """Settings that are environment variables."""

    flag: Annotated[bool, Setting("A flag.", env="FLAG")] = False
    count: Annotated[int, Setting("A count.", env="COUNT", minimum=2)] = 5
    wait_ms: Annotated[float, Setting("A time.", env="WAIT", unit="ms")] = 1.0


def read_environment(**environ: str) -> FromEnvironment:
    return read(FromEnvironment, ConfigTable(Path("config.toml"), environ, {}))


def test_settings_are_read_from_the_environment() -> None:
    assert read_environment() == FromEnvironment()
    assert read_environment(FLAG="true", COUNT="7", WAIT="2.5") == FromEnvironment(True, 7, 2.5)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("FLAG", "yes", "true or false"),
        ("COUNT", "1", "an integer of 2 or more"),
        ("COUNT", "many", "an integer of 2 or more"),
        ("WAIT", "0", "a number of milliseconds above 0"),
    ],
)
def test_a_wrong_environment_variable_is_an_error_with_its_name(name: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"environment: {name}: expected {expected}, found"):
        read_environment(**{name: value})


def test_a_field_without_a_setting_is_not_read() -> None:
    @dataclass(frozen=True)
    class Derived:
        derived: int = 5

    assert declarations(Derived) == ()
    assert read(Derived, ConfigTable(Path("config.toml"), {}, {"derived": 7})).derived == 5


def test_every_field_is_declared_except_derived_ones() -> None:
    undeclared = {
        field.name
        for place in PLACES
        for field in dataclasses.fields(place.section)
        if field.name not in {declared.field for declared in declarations(place.section)}
    }

    assert undeclared == {
        "client_secret",
        "warnings",
        "found",
        "api_key",
        "resolved_headers",
        "token",
        "name",
        "table",
        "variables",
        "headers",
        "is_on",
    }
