"""The configuration: config.toml and the environment, read once per process into frozen dataclasses.

`load` is the only reader of both. A setting is declared once, as one annotated field of its section's dataclass (see
shared.config.setting), and docs/SETTINGS.md is generated from these declarations. Codex's keys have Codex's names and
places; `[server]`, `[limits]` and most other tables are ours. May import the leaves of shared only.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from shared.config import providers
from shared.config.auth import AuthSettings
from shared.config.auto_review import AutoReview
from shared.config.feedback import FeedbackSettings
from shared.config.hooks import HookSettings
from shared.config.limits import Limits, Retention
from shared.config.mcp_servers import McpServer
from shared.config.otel import Otel
from shared.config.prices import Prices
from shared.config.providers import OPENAI, OPENAI_MODEL, SCRIPTED, SCRIPTED_WORDS, Provider
from shared.config.reader import Values, read
from shared.config.redis_url import is_redis_url
from shared.config.server import Server
from shared.config.setting import Setting
from shared.config.shell_environment import ShellEnvironment
from shared.config.skills import SkillConfig
from shared.config.table import ConfigTable
from shared.config.web_search import Tools, WebSearchEndpoint
from shared.config.webhooks import Webhook, check_urls, listeners
from shared.config.workspaces import WorkspaceSettings
from shared.errors import ConfigError
from shared.protocol.sandbox_modes import FULL_ACCESS, SANDBOX_MODES
from shared.protocol.web_search import DISABLED, MODES

__all__ = [
    "APPROVAL_POLICIES",
    "OPENAI",
    "REASONING_EFFORTS",
    "REASONING_SUMMARIES",
    "SCRIPTED",
    "SCRIPTED_WORDS",
    "AuthSettings",
    "Config",
    "Limits",
    "Prices",
    "Provider",
    "Retention",
    "SandboxWorkspaceWrite",
    "Server",
    "ShellEnvironment",
    "check",
    "embedded_redis_url",
    "load",
]

APPROVAL_POLICIES = ("untrusted", "on-request", "never")
REASONING_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra")
REASONING_SUMMARIES = ("auto", "concise", "detailed", "none")

MAX_SOCKET_PATH_BYTES = 107  # unix(7): sun_path is 108 bytes with its NUL


@dataclass(frozen=True)
class SandboxWorkspaceWrite:
    """What the sandbox mode workspace-write allows beside the workspace."""

    writable_roots: Annotated[tuple[str, ...], Setting("More folders that commands may write to.", absolute=True)] = ()
    network_access: Annotated[bool, Setting("Whether commands may use the network.")] = False
    exclude_tmpdir_env_var: Annotated[bool, Setting("Whether $TMPDIR is read-only.")] = False
    exclude_slash_tmp: Annotated[bool, Setting("Whether /tmp is read-only.")] = False


@dataclass(frozen=True)
class Config:
    """Everything that a process knows about its deployment."""

    home: Annotated[
        Path,
        Setting(
            "Folder of config.toml, and of all data of an embedded server.",
            env="THREADHOUSE_HOME",
            default="~/.threadhouse",
        ),
    ]
    redis_url: Annotated[
        str,
        Setting(
            "URL of Redis: `redis://…`, `rediss://…`, `unix://…` or, with Sentinels, `redis+sentinel://HOST:PORT,…/MASTER`.",
            env="THREADHOUSE_REDIS_URL",
            default="a Redis that the embedded server starts",
            matches=is_redis_url,
            expected="redis://…, rediss://…, unix://… or redis+sentinel://HOST:PORT,HOST:PORT/MASTER",
        ),
    ] = field(repr=False)
    database_url: Annotated[
        str,
        Setting(
            "URL of the database: `postgresql://…`, also with several hosts, or `sqlite:///…`.",
            env="THREADHOUSE_DATABASE_URL",
            default="SQLite in HOME/threadhouse.sqlite3",
            matches=_sqlalchemy_url,
            expected="postgresql://… or sqlite:///…",
        ),
    ] = field(repr=False)
    server: Annotated[Server, Setting("This deployment and its processes.")]
    model: Annotated[
        str,
        Setting(
            "The model of threads that name none.",
            default=f"{OPENAI_MODEL} with the provider {OPENAI}; required with a provider of your own",
            by_clients=True,
        ),
    ] = SCRIPTED
    model_provider: Annotated[
        str,
        Setting(
            f"The provider: the NAME of a [model_providers.NAME], {OPENAI} or {SCRIPTED}.",
            default=f"{OPENAI} if OPENAI_API_KEY is set, otherwise {SCRIPTED}",
            by_clients=True,
        ),
    ] = SCRIPTED
    model_reasoning_effort: Annotated[
        str | None,
        Setting("How much the model reasons.", choices=REASONING_EFFORTS, default="the model's own", by_clients=True),
    ] = None
    model_reasoning_summary: Annotated[
        str | None,
        Setting(
            "How the model summarizes its reasoning.",
            choices=REASONING_SUMMARIES,
            default="the model's own",
            by_clients=True,
        ),
    ] = None
    model_context_window: Annotated[
        int | None,
        Setting(
            "Tokens that the model can take in.",
            unit="tokens",
            minimum=1,
            default="what the catalogue knows of the model",
        ),
    ] = None
    model_auto_compact_token_limit: Annotated[
        int | None,
        Setting(
            "Size of the model's input after which the thread is compacted.",
            unit="tokens",
            minimum=1,
            default="most of the model's context window",
        ),
    ] = None
    approval_policy: Annotated[
        str,
        Setting(
            "When commands and patches need an approval (docs/APPROVALS.md).",
            choices=APPROVAL_POLICIES,
            by_clients=True,
        ),
    ] = "on-request"
    sandbox_mode: Annotated[
        str, Setting("What commands may read and write.", choices=SANDBOX_MODES, by_clients=True)
    ] = "workspace-write"
    sandbox_workspace_write: Annotated[
        SandboxWorkspaceWrite, Setting("What the sandbox mode workspace-write allows beside the workspace.")
    ] = field(default_factory=SandboxWorkspaceWrite)
    shell_environment_policy: Annotated[
        ShellEnvironment, Setting("The variables that commands run with.", by_clients=True)
    ] = field(default_factory=ShellEnvironment)
    allow_login_shell: Annotated[
        bool,
        Setting(
            "Whether commands may run in a login shell, which reads profiles; by default they do.", by_clients=True
        ),
    ] = True
    developer_instructions: Annotated[
        str | None,
        Setting("Text that the model of every thread gets as a developer message.", by_clients=True),
    ] = None
    project_doc_max_bytes: Annotated[
        int,
        Setting(
            "How much of a project's AGENTS.md files a model gets, the nearest to the work first; 0: nothing. Clients "
            "may set another value for their user or a thread.",
            unit="bytes",
            maximum=1024 * 1024,
        ),
    ] = 32 * 1024
    project_doc_fallback_filenames: Annotated[
        tuple[str, ...],
        Setting(
            "Names of files that count like AGENTS.md in folders without one. Clients may set others for their user or "
            "a thread."
        ),
    ] = ()
    web_search: Annotated[
        str | None,
        Setting(
            "How threads search the web (docs/WEB_SEARCH.md).",
            choices=MODES,
            default="cached, or live with full access, where a provider or [web_search_endpoint] can search",
            by_clients=True,
        ),
    ] = None
    tools: Annotated[Tools, Setting("Codex's settings of tools.", by_clients=True)] = field(default_factory=Tools)
    web_search_endpoint: Annotated[
        WebSearchEndpoint | None,
        Setting("The search engine of providers that cannot search the web themselves.", default="none"),
    ] = None
    auto_review: Annotated[AutoReview, Setting("The model that judges what a person would be asked.")] = field(
        default_factory=AutoReview
    )
    model_providers: Annotated[Mapping[str, Provider], Setting("Servers that answer model requests.")] = field(
        default_factory=dict
    )
    mcp_servers: Annotated[
        Mapping[str, McpServer], Setting("MCP servers, whose tools models may call (docs/MCP.md).", by_clients=True)
    ] = field(default_factory=dict)
    limits: Annotated[Limits, Setting("How much may be used.")] = field(default_factory=Limits)
    prices: Annotated[Prices, Setting("What models cost.")] = field(default_factory=Prices)
    retention: Annotated[Retention, Setting("How long data is kept.")] = field(default_factory=Retention)
    auth: Annotated[
        AuthSettings | None, Setting("Tokens that another system signs, and signing in.", default="only API keys")
    ] = None
    workspaces: Annotated[WorkspaceSettings, Setting("What workspaces may be made from.")] = field(
        default_factory=WorkspaceSettings
    )
    skills: Annotated[SkillConfig, Setting("Skills, which agents use (docs/SKILLS.md).")] = field(
        default_factory=SkillConfig
    )
    notify: Annotated[
        tuple[str, ...],
        Setting("Program and arguments that are run after each completed turn (docs/WEBHOOKS.md)."),
    ] = ()
    webhooks: Annotated[tuple[Webhook, ...], Setting("Receivers of events over HTTP.")] = ()
    hooks: Annotated[HookSettings, Setting("Programs that run at events of turns.")] = field(
        default_factory=HookSettings
    )
    otel: Annotated[Otel, Setting("Telemetry for a collector.")] = field(default_factory=Otel)
    feedback: Annotated[FeedbackSettings, Setting("What happens to feedback reports.")] = field(
        default_factory=lambda: FeedbackSettings(Path("feedback"))
    )
    warnings: tuple[str, ...] = ()  # sentences about keys that have no effect, for the log

    @classmethod
    def from_settings(cls, values: Values, table: ConfigTable) -> Config:
        """Fill in what depends on several settings. Errors: ConfigError."""
        home = table.home
        tool = values["tools"].web_search
        searches = values.get("web_search", DISABLED if tool is None or not tool.is_on else None) != DISABLED
        known = {OPENAI: providers.openai(table.environ, web_search=searches)} | values.get("model_providers", {})
        model_provider, model = providers.choose_model(values, known, table)
        database_url = _sqlalchemy_url(values.get("database_url", f"sqlite:///{home / 'threadhouse.sqlite3'}")) or ""
        server: Server = values["server"]
        if server.sessions_dir is None and database_url.startswith("sqlite:"):
            server = replace(server, sessions_dir=home / "sessions")
        check_urls(values.get("webhooks", ()), table.array("webhooks"))
        reviewer: AutoReview = values["auto_review"]
        if reviewer.model_provider is not None and reviewer.model_provider not in known:
            expected = f"one of {', '.join(known)}"
            raise table.table("auto_review").error("model_provider", expected, reviewer.model_provider, show=True)
        derived = {
            "home": home,
            "redis_url": values.get("redis_url", embedded_redis_url(home)),
            "database_url": database_url,
            "server": server,
            "model": model,
            "model_provider": model_provider,
            "model_providers": known,
            "warnings": (*table.warnings(), *values["hooks"].found.warnings),
        }
        return cls(**values | derived)

    def allowed_modes(self, *, hosted: bool) -> frozenset[str]:
        """Return the sandbox modes that a client may ask for; the operator's default mode is always among them.

        hosted: for users with keys or tokens. They share the host, so they may have full access only when sandbox_modes
                is set and contains it.
        """
        modes = self.server.sandbox_modes or tuple(m for m in SANDBOX_MODES if not hosted or m != FULL_ACCESS)
        return frozenset((*modes, self.sandbox_mode))

    @property
    def listeners(self) -> dict[str, tuple[str, ...]]:
        """Event → the targets that get it, as a Store expects them."""
        return listeners(self.webhooks, notify=bool(self.notify))

    @property
    def redis_is_embedded(self) -> bool:
        """Whether redis_url is that of the Redis which `threadhouse up` starts itself."""
        return self.redis_url == embedded_redis_url(self.home)


def embedded_redis_url(home: Path) -> str:
    """Return the URL of an embedded server's Redis: a socket in HOME/run, or under /tmp when HOME is too long."""
    socket = home / "run" / "redis.sock"
    if len(os.fsencode(socket)) > MAX_SOCKET_PATH_BYTES:
        digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
        socket = Path(f"/tmp/threadhouse-{os.getuid()}-{digest}/redis.sock")
    return f"unix://{quote(str(socket))}"


def load(home: Path | None, environ: Mapping[str, str]) -> Config:
    """Read HOME/config.toml (it may be missing) and the environment.

    home:    the folder; None: THREADHOUSE_HOME, else ~/.threadhouse. It need not exist.
    Errors:  ConfigError, naming file, key, expectation and what was found
    """
    home = Path(os.path.abspath(Path(home or environ.get("THREADHOUSE_HOME") or "~/.threadhouse").expanduser()))
    file = home / "config.toml"
    return check(file, _parse(file), environ)


def check(file: Path, values: Mapping[str, Any], environ: Mapping[str, str]) -> Config:
    """Return the configuration that a config.toml with these values would be. Errors: ConfigError."""
    return read(Config, ConfigTable(file, environ, values))


def _parse(file: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: expected valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None


def _sqlalchemy_url(url: str) -> str | None:
    """Return a database URL as SQLAlchemy expects it; None for a database that is not supported."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        return f"postgresql+psycopg://{_with_hosts_as_options(rest)}"
    return url if separator and scheme == "sqlite" else None


def _with_hosts_as_options(rest: str) -> str:
    """Return `LOGIN@/DATABASE?host=A:1&host=B:2` for libpq's `LOGIN@A:1,B:2/DATABASE`."""
    address, slash, path = rest.partition("/")
    login, at, hosts = address.rpartition("@")
    if "," not in hosts:
        return rest
    options = "&".join(f"host={host}" for host in hosts.split(","))
    return f"{login}{at}{slash}{path}{'&' if '?' in path else '?'}{options}"
