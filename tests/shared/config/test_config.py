"""Loading config.toml and the environment: one Config, or an error that says what to change."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from shared.config import MAX_SOCKET_PATH_BYTES, AuthSettings, Config, load
from shared.config.webhooks import EVENTS
from shared.errors import ConfigError

PROVIDER = 'model = "m"\nmodel_provider = "x"\n[model_providers.x]\nbase_url = "http://127.0.0.1:1/v1"\n'
WEBHOOK = """
[[webhooks]]
url = "https://hooks.example/in"
secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
"""


LIMITS = (
    "turns_at_once",
    "queued_turns",
    "requests_per_minute",
    "connections",
    "threads",
    "stored_bytes",
    "tokens_per_day",
    "tokens_per_month",
    "warn_percent",
    "waiting_turns",
    "workspace_bytes",
    "workspace_files",
    "workspaces_bytes",
    "workspaces_files",
    "command_memory_bytes",
)


def values_of(section: object, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(section, name) for name in names}


def config(home: Path, toml: str = "", **environ: str) -> Config:
    (home / "config.toml").write_text(toml)
    return load(home, environ)


def test_the_defaults_are_the_scripted_model_sqlite_and_the_embedded_redis(tmp_path: Path) -> None:
    loaded = load(tmp_path, {})

    assert (loaded.model_provider, loaded.model) == ("scripted", "scripted")
    assert loaded.database_url == f"sqlite:///{tmp_path}/threadhouse.sqlite3"
    assert loaded.redis_url == f"unix://{tmp_path}/run/redis.sock"
    assert loaded.redis_is_embedded
    assert (loaded.approval_policy, loaded.sandbox_mode) == ("on-request", "workspace-write")
    assert loaded.server.workspaces_dir == tmp_path / "workspaces"
    assert loaded.server.sessions_dir == tmp_path / "sessions"
    assert loaded.warnings == ()


def test_home_comes_from_the_argument_before_the_environment(tmp_path: Path) -> None:
    assert load(None, {"THREADHOUSE_HOME": str(tmp_path / "a" / ".." / "b")}).home == tmp_path / "b"
    assert load(tmp_path, {"THREADHOUSE_HOME": "/elsewhere"}).home == tmp_path


def test_redis_and_database_urls_come_from_the_environment(tmp_path: Path) -> None:
    loaded = config(
        tmp_path,
        THREADHOUSE_REDIS_URL="redis://r:6379/0",
        THREADHOUSE_DATABASE_URL="postgres://u:p@db/threads?sslmode=off",
    )

    assert loaded.redis_url == "redis://r:6379/0"
    assert not loaded.redis_is_embedded
    assert loaded.database_url == "postgresql+psycopg://u:p@db/threads?sslmode=off"
    assert loaded.server.sessions_dir is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@a:1,b:2/t?target_session_attrs=read-write",
        "postgresql://u:p@/t?host=a,b&port=1,2&target_session_attrs=read-write",
    ],
)
def test_a_database_url_names_several_hosts(tmp_path: Path, url: str) -> None:
    parsed = make_url(config(tmp_path, THREADHOUSE_DATABASE_URL=url).database_url)

    _, options = parsed.get_dialect()().create_connect_args(parsed)

    shown = {name: options[name] for name in ("host", "port", "user", "password", "dbname", "target_session_attrs")}
    assert shown == {
        "host": "a,b",
        "port": "1,2",
        "user": "u",
        "password": "p",
        "dbname": "t",
        "target_session_attrs": "read-write",
    }


def test_the_redis_socket_is_under_tmp_when_home_is_too_long_for_one(tmp_path: Path) -> None:
    home = tmp_path / ("x" * MAX_SOCKET_PATH_BYTES)

    url = load(home, {}).redis_url

    assert url.startswith("unix:///tmp/threadhouse-")
    assert len(url.removeprefix("unix://")) <= MAX_SOCKET_PATH_BYTES
    assert url == load(home, {}).redis_url
    assert url != load(home.with_name("y" * MAX_SOCKET_PATH_BYTES), {}).redis_url


@pytest.mark.parametrize(
    ("toml", "environ", "expected"),
    [
        ("", {"OPENAI_API_KEY": "k"}, ("openai", "gpt-5.5")),
        ('model_provider = "openai"', {}, ("openai", "gpt-5.5")),
        ('model = "gpt-5.4"', {"OPENAI_API_KEY": "k"}, ("openai", "gpt-5.4")),
        ('model_provider = "scripted"', {"OPENAI_API_KEY": "k"}, ("scripted", "scripted")),
        (PROVIDER, {"OPENAI_API_KEY": "k"}, ("x", "m")),
        ("", {"OPENAI_API_KEY": ""}, ("scripted", "scripted")),
    ],
)
def test_the_provider_is_the_configured_one_or_the_one_with_a_key(
    tmp_path: Path, toml: str, environ: dict[str, str], expected: tuple[str, str]
) -> None:
    loaded = config(tmp_path, toml, **environ)

    assert (loaded.model_provider, loaded.model) == expected


def test_a_model_without_a_provider_gives_a_warning(tmp_path: Path) -> None:
    assert "scripted model answers" in config(tmp_path, 'model = "gpt-5.4"').warnings[0]


def test_a_provider_reads_its_key_and_headers_from_the_environment(tmp_path: Path) -> None:
    toml = PROVIDER.replace("/v1", "/v1/") + (
        'env_key = "KEY"\nhttp_headers = { A = "plain" }\nenv_http_headers = { B = "HEADER", C = "MISSING" }\n'
        'query_params = { version = "2" }\nwire_api = "chat"\nrequest_max_retries = 0\nstream_idle_timeout_ms = 50\n'
    )

    provider = config(tmp_path, toml, KEY="sk-1", HEADER="from env").model_providers["x"]

    assert (provider.name, provider.base_url, provider.wire_api) == ("x", "http://127.0.0.1:1/v1", "chat")
    assert provider.api_key == "sk-1"
    assert provider.resolved_headers == {"A": "plain", "B": "from env"}
    assert provider.query_params == {"version": "2"}
    assert (provider.request_max_retries, provider.stream_max_retries, provider.stream_idle_timeout_ms) == (0, 5, 50)


def test_a_missing_api_key_is_no_error(tmp_path: Path) -> None:
    assert config(tmp_path, PROVIDER + 'env_key = "KEY"').model_providers["x"].api_key is None


def test_repr_of_a_config_shows_no_secret(tmp_path: Path) -> None:
    toml = PROVIDER + (
        'env_key = "KEY"\nhttp_headers = { A = "hush1" }\nenv_http_headers = { B = "HEADER" }\n'
        'query_params = { key = "hush2" }\n'
    )

    shown = repr(
        config(
            tmp_path,
            toml,
            KEY="hush3",
            HEADER="hush4",
            OPENAI_API_KEY="hush5",
            THREADHOUSE_REDIS_URL="redis://:hush6@r",
            THREADHOUSE_DATABASE_URL="postgresql://u:hush7@db/t",
        )
    )

    assert "model_providers" in shown
    assert "hush" not in shown


def test_all_sections_are_read_together(tmp_path: Path) -> None:
    loaded = config(
        tmp_path,
        """
model_reasoning_effort = "high"
model_reasoning_summary = "concise"
model_context_window = 32000
approval_policy = "never"
sandbox_mode = "read-only"
developer_instructions = "be brief"
notify = ["prog", "arg"]
[sandbox_workspace_write]
writable_roots = ["/srv/cache"]
network_access = true
exclude_tmpdir_env_var = true
exclude_slash_tmp = true
[server]
host = "::1"
port = 9000
titles = false
hosts = ["Threads.Example"]
proxies = 1
sandbox_modes = ["read-only"]
workspace_roots = ["/srv/work"]
sessions_dir = "/srv/sessions"
workspaces_dir = "spaces"
sweep_seconds = 0.5
approval_timeout_seconds = 60
max_lost_attempts = 0
worker_concurrency = 4
worker_niceness = 3
log_level = "debug"
tool_runner = "run/runner.sock"
dangerously_run_as_root = true
event_log_length = 100
notify_timeout_seconds = 7
webhook_timeout_seconds = 8
webhook_retry_seconds = [1, 2.5]
[limits]
turns_at_once = 1
queued_turns = 2
requests_per_minute = 3
connections = 4
threads = 5
stored_bytes = 6
tokens_per_day = 7
tokens_per_month = 8
warn_percent = 9
waiting_turns = 10
workspace_bytes = 11
workspace_files = 12
workspaces_bytes = 13
workspaces_files = 14
command_memory_bytes = 15
[auth]
jwks_file = "jwks.json"
issuer = "https://login.example"
audience = "threads"
leeway_seconds = 5
user_claim = "email"
create_users = true
""",
    )

    assert (loaded.model_reasoning_effort, loaded.model_reasoning_summary) == ("high", "concise")
    assert (loaded.model_context_window, loaded.developer_instructions) == (32000, "be brief")
    assert (loaded.approval_policy, loaded.sandbox_mode, loaded.notify) == ("never", "read-only", ("prog", "arg"))
    assert dataclasses.astuple(loaded.sandbox_workspace_write) == (("/srv/cache",), True, True, True)
    assert values_of(loaded.limits, LIMITS) == dict(zip(LIMITS, range(1, 16), strict=True))
    assert loaded.auth == AuthSettings(
        issuer="https://login.example",
        audience="threads",
        jwks_file=tmp_path / "jwks.json",
        leeway_seconds=5,
        user_claim="email",
        create_users=True,
    )
    expected = {
        "host": "::1",
        "port": 9000,
        "titles": False,
        "hosts": ("threads.example",),
        "proxies": 1,
        "sandbox_modes": ("read-only",),
        "workspace_roots": ("/srv/work",),
        "sessions_dir": Path("/srv/sessions"),
        "workspaces_dir": tmp_path / "spaces",
        "lease_seconds": 30,
        "renewal_seconds": 10,
        "authority_seconds": 25,
        "sweep_seconds": 0.5,
        "approval_timeout_seconds": 60,
        "max_lost_attempts": 0,
        "worker_concurrency": 4,
        "worker_niceness": 3,
        "log_level": "debug",
        "tool_runner": tmp_path / "run/runner.sock",
        "dangerously_run_as_root": True,
        "event_log_length": 100,
        "notify_timeout_seconds": 7,
        "webhook_timeout_seconds": 8,
        "webhook_retry_seconds": (1, 2.5),
    }
    assert values_of(loaded.server, expected) == expected
    assert loaded.warnings == ()


def test_users_with_keys_have_full_access_only_when_the_operator_allows_it(tmp_path: Path) -> None:
    unset = config(tmp_path, "")
    all_allowed = config(tmp_path, '[server]\nsandbox_modes = ["read-only", "workspace-write", "danger-full-access"]')
    as_default = config(tmp_path, 'sandbox_mode = "danger-full-access"')

    assert "danger-full-access" in unset.allowed_modes(hosted=False)
    assert "danger-full-access" not in unset.allowed_modes(hosted=True)
    assert "danger-full-access" in all_allowed.allowed_modes(hosted=True)
    assert "danger-full-access" in as_default.allowed_modes(hosted=True)


def test_renewal_and_authority_scale_with_the_lease(tmp_path: Path) -> None:
    server = config(tmp_path, "[server]\nlease_seconds = 3").server

    assert (server.renewal_seconds, server.authority_seconds) == (1.0, 2.5)


def test_webhook_secrets_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        WEBHOOK.replace('"whsec_', '"${HOOK}')
        + 'events = ["turn.failed"]\nallow_private = true\n'
        + WEBHOOK.replace("hooks.", "more.")
    )

    loaded = load(tmp_path, {"HOOK": "whsec_"})

    first, second = loaded.webhooks
    assert (first.url, first.secret, first.events, first.allow_private) == (
        "https://hooks.example/in",
        "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
        ("turn.failed",),
        True,
    )
    assert (second.url, second.events, second.allow_private) == ("https://more.example/in", EVENTS, False)
    assert loaded.listeners["turn.failed"] == (first.url, second.url)
    assert loaded.listeners["turn.completed"] == (second.url,)
    assert "MDEy" not in repr(loaded)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("model = 5", "config.toml: model: expected a string, found the number 5"),
        ('model = ""', "model: expected a string, found an empty string"),
        ('approval_policy = "on-failure"', "approval_policy: expected one of untrusted, on-request, never, found"),
        ("model_reasoning_effort = true", "model_reasoning_effort: expected one of"),
        ("model_context_window = 0", "model_context_window: expected an integer of 1 or more, found the number 0"),
        ('notify = "prog"', "notify: expected a list of strings, found a string"),
        ("server = 3", "server: expected a table, found the number 3"),
        ("[server]\nport = true", "server.port: expected an integer from 1 to 65535, found the boolean true"),
        ("[server]\nport = 65536", "server.port: expected an integer from 1 to 65535"),
        ('[server]\ntitles = "no"', "server.titles: expected true or false, found a string"),
        ("[auth]\nissuer = 'i'\naudience = 'a'", "auth.jwks_file: expected either this or jwt_secret_file"),
        ("[auth]\njwks_file = 'j'\naudience = 'a'", "auth.issuer: expected the `iss` of your tokens, found nothing"),
        ("[auth]\njwks_file = 'j'\nissuer = 'i'", "auth.audience: expected the `aud` of your tokens, found nothing"),
        ("[server]\nsandbox_modes = []", "server.sandbox_modes: expected a list of one or more of"),
        ('[server]\nsandbox_modes = ["none"]', "server.sandbox_modes: expected a list of one or more of"),
        ('[server]\nworkspace_roots = ["here"]', "server.workspace_roots: expected a list of absolute paths"),
        ("[server]\nlease_seconds = nan", "server.lease_seconds: expected a number of seconds above 0"),
        ("[server]\nsweep_seconds = 0", "server.sweep_seconds: expected a number of seconds above 0"),
        ("[server]\nauthority_seconds = 30", "server.authority_seconds: expected less than lease_seconds (30)"),
        ("[server]\nrenewal_seconds = 25", "server.renewal_seconds: expected less than authority_seconds (25)"),
        ("[limits]\nwarn_percent = 0", "limits.warn_percent: expected an integer from 1 to 100"),
        ("[limits]\nqueued_turns = -1", "limits.queued_turns: expected an integer of 0 or more"),
        ("[limits]\nqueued_turns = 2026-01-01", "limits.queued_turns: expected an integer of 0 or more, found a date"),
        ('model_provider = "y"', 'model_provider: expected one of openai, scripted, found "y"'),
        (PROVIDER.replace('model = "m"\n', ""), "model: expected the name of a model that x serves, found nothing"),
        (PROVIDER.replace("http:", "ftp:"), "model_providers.x.base_url: expected an http:// or https:// URL"),
        (PROVIDER + 'wire_api = "grpc"', "model_providers.x.wire_api: expected one of responses, chat"),
        (PROVIDER.replace("providers.x", "providers.scripted"), "model_providers.scripted: expected another name"),
        ('webhooks = "x"', "webhooks: expected tables, each under [[webhooks]], found a string"),
        (
            "[[webhooks]]\nsecret = 'x'",
            "webhooks[0].url: expected an http:// or https:// URL without a user, found nothing",
        ),
        (WEBHOOK.replace("https", "ftp"), "webhooks[0].url: expected an http:// or https:// URL"),
        (WEBHOOK.replace("//", "//me:hush@"), "webhooks[0].url: expected an http:// or https:// URL without a user"),
        (WEBHOOK + WEBHOOK, "webhooks[1].url: expected a URL that no other webhook has, found a string"),
        (WEBHOOK.replace("whsec_", ""), 'webhooks[0].secret: expected "whsec_" and 24 to 64 bytes in base64'),
        (WEBHOOK.replace("MDEy", ""), 'webhooks[0].secret: expected "whsec_" and 24 to 64 bytes in base64'),
        (
            WEBHOOK + 'events = ["turn.ended"]',
            "webhooks[0].events: expected a list of one or more of turn.started, turn.comp",
        ),
        (
            WEBHOOK.replace("whsec_", "${HOOK_SECRET}"),
            "webhooks[0].secret: expected the environment variable HOOK_SECRET to be set, found nothing",
        ),
        (
            "[server]\nwebhook_retry_seconds = [1, 0]",
            "webhook_retry_seconds: expected a list of numbers of seconds above",
        ),
        ("model = ", "config.toml: expected valid TOML"),
    ],
)
def test_a_wrong_value_is_an_error_with_file_key_and_expectation(tmp_path: Path, toml: str, message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        config(tmp_path, toml)

    assert str(refusal.value).startswith(str(tmp_path / "config.toml"))
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("environ", "name"),
    [({"THREADHOUSE_REDIS_URL": "hush"}, "REDIS"), ({"THREADHOUSE_DATABASE_URL": "mysql://hush"}, "DATABASE")],
)
def test_a_url_of_an_unknown_kind_is_an_error_that_does_not_quote_it(
    tmp_path: Path, environ: dict[str, str], name: str
) -> None:
    with pytest.raises(ConfigError, match=f"THREADHOUSE_{name}_URL: expected") as refusal:
        load(tmp_path, environ)

    assert "hush" not in str(refusal.value)


def test_a_header_of_a_wrong_type_is_an_error_that_does_not_quote_the_others(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model_providers\.x\.http_headers") as refusal:
        config(tmp_path, PROVIDER + 'http_headers = { A = "hush", B = 1 }')

    assert "hush" not in str(refusal.value)


@pytest.mark.parametrize(
    ("toml", "warning"),
    [
        ('modle = "x"', "modle: unknown key, ignored; did you mean model?"),
        ("[server]\nprot = 1", "server.prot: unknown key, ignored; did you mean port?"),
        (PROVIDER + "wire_apy = 1", "model_providers.x.wire_apy: unknown key, ignored; did you mean wire_api?"),
        ("zzzzzz = 1", "zzzzzz: unknown key, ignored"),
        ("[tui]\ntheme = 1", "tui: not in effect in this version"),
        ("[projects.'/x']\ntrust_level = 'trusted'", "projects: not in effect in this version"),
    ],
)
def test_a_key_without_effect_gives_one_warning(tmp_path: Path, toml: str, warning: str) -> None:
    assert config(tmp_path, toml).warnings == (f"{tmp_path}/config.toml: {warning}",)


def test_a_price_holds_until_a_later_one_and_cached_input_costs_what_is_said(tmp_path: Path) -> None:
    toml = (
        '[[prices.models]]\nmodel = "m"\ninput = 1\noutput = 0\n[[prices.models]]\nmodel = "m"\ninput = 2\noutput = 3\n'
    )
    prices = config(tmp_path, toml + "cached_input = 0.5\nfrom = 2026-11-02\n").prices
    million = {"input": 1_000_000, "cached_input": 1_000_000, "output": 1_000_000}

    assert [prices.cost("m", day, **million) for day in ("2026-11-01", "2026-11-02")] == [1, Decimal("3.5")]
    assert prices.cost("other", "2026-11-01", **million) is None
    assert prices.currency == "USD"
    for wrong, expected in (
        ("input = -1", "input: expected a number of 0 or more"),
        ('from = "soon"', "from: expected a day"),
    ):
        with pytest.raises(ConfigError, match=rf"prices.models\[0\].{expected}"):
            config(
                tmp_path,
                f'[[prices.models]]\nmodel = "m"\n{"input = 1" if "from" in wrong else ""}\noutput = 1\n{wrong}',
            )


def test_a_switch_of_a_skill_names_one(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[[skills.config]]\nenabled = false\n[[skills.config]]\nenabled = true\n")

    with pytest.raises(ConfigError, match=r"skills\.config\[0\]\.name: expected the name of a skill, or path instead"):
        load(tmp_path, {})


def test_the_option_of_a_command_comes_before_the_configured_log_format(tmp_path: Path) -> None:
    toml = '[server]\nlog_format = "json"\n'

    assert config(tmp_path, toml).server.log_format == "json"
    assert config(tmp_path, toml, THREADHOUSE_LOG_FORMAT="text").server.log_format == "text"
    with pytest.raises(ConfigError, match=r"server\.log_format: expected one of text, json"):
        config(tmp_path, toml.replace("json", "xml"))


@pytest.mark.parametrize(
    ("url", "warned"), [("https://a.example/x", 0), ("https://A.example", 0), ("https://b.example", 1)]
)
def test_a_public_url_that_the_server_would_refuse_is_warned_of(tmp_path: Path, url: str, warned: int) -> None:
    loaded = config(tmp_path, f'[server]\nhosts = ["a.example"]\npublic_url = "{url}"\n')

    assert len(loaded.warnings) == warned
    assert all("b.example is not in hosts" in warning for warning in loaded.warnings)


@pytest.mark.parametrize(
    ("lines", "searches", "chosen"),
    [
        ("", False, None),
        ('web_search = "disabled"', False, None),
        ('web_search = "live"', True, None),
        ("[tools]\nweb_search = true", True, {}),
        ("[tools]\nweb_search = false", False, {}),
        (
            '[tools.web_search]\ncontext_size = "low"\nallowed_domains = ["a.b"]\nlocation = {country = "DE"}',
            True,
            {"contextSize": "low", "allowedDomains": ("a.b",), "location": {"country": "DE"}},
        ),
    ],
)
def test_openai_searches_the_web_when_the_operator_sets_how(
    tmp_path: Path, lines: str, searches: bool, chosen: object
) -> None:
    (tmp_path / "config.toml").write_text(lines)

    config = load(tmp_path, {"OPENAI_API_KEY": "k"})

    assert (config.model_providers["openai"].web_search, config.warnings) == (searches, ())
    assert (config.tools.web_search and config.tools.web_search.chosen) == chosen


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ('[tools]\nweb_search = "live"', "tools.web_search: expected a table, found a string"),
        ('[model_providers.x]\nbase_url = "http://h"\nwire_api = "chat"\nweb_search = true', "only wire_api"),
        ('[web_search_endpoint]\nurl = "ftp://h"', "web_search_endpoint.url: expected an http"),
        ('[web_search_endpoint]\nurl = "http://h"\nenv_http_headers = {"X-Key" = "NO_SUCH"}', "NO_SUCH to be set"),
        ('[auto_review]\nmodel_provider = "x"', "auto_review.model_provider: expected one of openai"),
    ],
)
def test_settings_of_searches_and_reviews_that_cannot_work_are_errors(tmp_path: Path, lines: str, error: str) -> None:
    (tmp_path / "config.toml").write_text(lines)

    with pytest.raises(ConfigError, match=re.escape(error)):
        load(tmp_path, {"OPENAI_API_KEY": "k"})


def test_an_mcp_command_line_with_an_open_quote_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="user_mcp_commands: expected command lines without an open quote"):
        config(tmp_path, '[server]\nuser_mcp_commands = ["npx -y a", "npx -y \'a"]\n')
