"""`threadhouse mcp`: the servers of config.toml, as people and scripts see them, and changes that keep the file."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from api.cli import commands
from api.cli.mcp.config_file import put_server
from shared.config import load
from shared.errors import ConfigError

CONFIG = """\
# ours
model = "m"  # the best
model_provider = "scripted"

[server]
port = 9000

[mcp_servers.docs] # of the team
command = "docs"
env = { TOKEN = "canary", B = "2" }
env_vars = ["Q"]

[mcp_servers.tracker]
url = "https://tracker.example/mcp"
http_headers = { X = "canary" }
env_http_headers = { Y = "ENV_Y" }
enabled_tools = ["a", "b"]

[mcp_servers.off]
url = "https://off.example/mcp"
bearer_token_env_var = "TOKEN"
enabled = false

[limits]
turns_at_once = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    file.chmod(0o640)
    return file


def run(file: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(
        commands, ["--home", str(file.parent), "mcp", *arguments], env={"THREADHOUSE_HOME": None}
    )
    if isinstance(result.exception, ConfigError):
        raise result.exception
    return result


def test_list_and_get_show_servers_without_their_secrets(file: Path) -> None:
    listed = run(file, "list").output
    assert [line.split() for line in listed.splitlines()] == [
        ["name", "command", "args", "env", "cwd", "status", "auth"],
        ["docs", "docs", "-", "B=*****,", "TOKEN=*****,", "Q=*****", "-", "enabled", "Unsupported"],
        [],
        ["name", "url", "bearer", "token", "env", "var", "status", "auth"],
        ["off", "https://off.example/mcp", "TOKEN", "disabled", "Bearer", "token"],
        ["tracker", "https://tracker.example/mcp", "-", "enabled", "Unknown"],
    ]
    assert run(file, "get", "tracker").output.splitlines() == [
        "tracker",
        "  enabled: true",
        "  enabled_tools: a, b",
        "  transport: streamable_http",
        "  url: https://tracker.example/mcp",
        "  bearer_token_env_var: -",
        "  http_headers: X=*****",
        "  env_http_headers: Y=ENV_Y",
        f"  remove: threadhouse --home {file.parent} mcp remove tracker",
    ]
    shown = json.loads(run(file, "list", "--json").output)
    assert [(one["name"], one["auth_status"]) for one in shown] == [
        ("docs", "unsupported"),
        ("off", "bearer_token"),
        ("tracker", "unknown"),
    ]
    assert shown[0]["transport"]["env"] == {"B": "*****", "TOKEN": "*****"}
    everything = [listed, json.dumps(shown), *(run(file, "get", name, "--json").output for name in ("docs", "tracker"))]
    assert "canary" not in "".join(everything)
    assert "No MCP server named 'nope'" in str(run(file, "get", "nope").exception)


def test_add_and_remove_keep_all_else_of_the_file(file: Path) -> None:
    added = run(file, "add", "time", "--env", "TZ=UTC", "--", "uvx", "mcp-server-time", "--local")
    assert added.output.startswith("Added MCP server 'time'.")
    run(file, "add", "wiki", "--url", "https://wiki.example/mcp", "--scopes", "read,write")
    run(file, "add", "a:b/c", "--", "x")
    run(file, "remove", "docs")

    text = file.read_text()
    for kept in ("# ours", 'model = "m"  # the best', "[server]\nport = 9000", "[limits]\nturns_at_once = 3"):
        assert kept in text
    assert file.stat().st_mode & 0o777 == 0o640
    servers = load(file.parent, {}).mcp_servers
    assert set(servers) == {"tracker", "off", "time", "wiki", "a:b/c"}
    time = servers["time"]
    assert (time.command, time.args, time.env) == ("uvx", ("mcp-server-time", "--local"), {"TZ": "UTC"})
    assert servers["wiki"].scopes == ("read", "write")

    run(file, "add", "time", "--", "other")
    assert load(file.parent, {}).mcp_servers["time"].env == {}
    for name in ("tracker", "off", "time", "wiki", "a:b/c"):
        assert run(file, "remove", name).output.startswith(f"Removed MCP server '{name}'.")
    assert "mcp_servers" not in file.read_text()
    assert run(file, "remove", "time").output == "No MCP server named 'time' found.\n"


def test_a_new_file_is_readable_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "home" / "config.toml"
    assert "mcp add my-tool" in run(file, "list").output

    run(file, "add", "docs", "--env", "TOKEN=canary", "--", "docs")

    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]


def test_servers_that_are_added_at_the_same_time_are_all_there(file: Path) -> None:
    names = [f"server{number}" for number in range(12)]

    with ThreadPoolExecutor(6) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setenv("THREADHOUSE_HOME", str(file.parent))
        list(pool.map(lambda name: put_server(name, {"command": name}), names))

    assert set(names) <= set(load(file.parent, {}).mcp_servers)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_the_file_stays_that_of_its_owner(file: Path) -> None:
    os.chown(file, 12_345, 23_456)

    run(file, "add", "docs", "--", "docs")

    assert (file.stat().st_uid, file.stat().st_gid) == (12_345, 23_456)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a b", "--", "x"], "invalid server name"),
        (["x"], "either --url URL or -- COMMAND"),
        (["x", "--url", "https://a.example", "--", "y"], "either --url URL or -- COMMAND"),
        (["x", "--url", "https://a.example", "--env", "A=b"], "--env goes with a command"),
        (["x", "--scopes", "a", "--", "y"], "go with --url"),
        (["x", "--env", "A", "--", "y"], "expected KEY=VALUE"),
    ],
)
def test_contradictory_arguments_change_nothing(file: Path, arguments: list[str], message: str) -> None:
    result = run(file, "add", *arguments)

    assert result.exit_code == 2
    assert message in result.output
    assert file.read_text() == CONFIG


def test_what_the_server_would_refuse_is_not_written(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"mcp_servers\.x\.url: expected an http"):
        run(file, "add", "x", "--url", "ftp://a.example")
    assert file.read_text() == CONFIG

    file.write_text("model = [")
    with pytest.raises(ConfigError, match="expected valid TOML"):
        run(file, "add", "x", "--", "y")
    assert file.read_text() == "model = ["
